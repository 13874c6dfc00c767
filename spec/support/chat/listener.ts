/** A program that records the messages that it receives: `listener.ts PORT NAME JOURNAL STATE [DEVICE]`. */
import { appendFileSync } from 'node:fs'
import { createClient } from '../../../lib/index.ts'
import { stateDirectory, tcp } from '../../../lib/node.ts'
import { eagerPlatform } from './eager.ts'
import type { Handed } from './history.ts'

const [port, name = '', journal = '', state = '', device] = process.argv.slice(2)

const client = createClient(tcp({ port: Number(port) }), {
  user: name,
  device,
  platform: eagerPlatform(),
  state: stateDirectory(state),
})
client.receive((message) => {
  const { from, seq, attempt } = message
  const { n } = JSON.parse(message.text()) as { n: number }
  const line: Handed = { from, id: message.id, seq, attempt, n }
  appendFileSync(journal, `${JSON.stringify(line)}\n`)
})
// The list follows the registration.
await client.presence.ready()
console.log('listening')
