// A device that is often offline: `node outbox.ts TEXT...` queues messages, and sends them when the server is reachable.
import { createClient } from 'ospd'
import { stateDirectory } from 'ospd/node'

const to = `ospd://127.0.0.1:${process.env.PORT ?? 6682}`
const device = createClient(to, { user: 'sensor', state: stateDirectory('./sensor-state') })
device.on('status', (status, error) => status === 'waiting' && console.error(error?.message))
const sent = process.argv.slice(2).map((text) => device.send(['alice'], text))
for (const { id, queued } of sent) {
  await queued
  console.log('queued', id)
}

// If the program is killed now, its next run sends each remaining message once.
for (const message of sent) {
  await message.stored
  console.log('stored', message.id)
}
await device.flush()
await device.close()
