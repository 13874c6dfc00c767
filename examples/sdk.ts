// The examples of docs/sdk.md in one program, with a server and its clients: `node sdk.ts`.
// #region serve
import { connect, createClient, OspError, serve } from 'ospd'
import { stateDirectory } from 'ospd/node'

const server = await serve({
  listen: 0,
  storage: './data',
  onUpload: ({ user, name, size }) => {
    if (size > 1e9) return { refuse: 'at most 1 GB' }
    return { name: `inbox/${name}`, metadata: { uploadedBy: user } }
  },
  async onStored(file, { attempt }) {
    let bytes = 0
    for await (const part of file.content()) bytes += part.length
    console.log('stored', file.user, file.name, bytes, attempt)
    return `${bytes} bytes imported`
  },
  log({ level, event, ...fields }) {
    if (level !== 'info') console.error(level, event, fields)
  },
})
const url = `ospd://127.0.0.1:${server.addresses[0]?.port}`
// #endregion serve

// #region connect
const alice = await connect(url, { user: 'alice', state: './alice-state' })
alice.on('status', (status, error, retryMs) => console.log(status, error?.code, retryMs))
// #endregion connect

// #region upload
const table = new Blob(['id,name\n1,one\n'])
const upload = await alice.upload(table, {
  name: 'table.csv',
  metadata: { contentType: 'text/csv' },
  to: ['bob'],
  receipt: true,
  signal: AbortSignal.timeout(60_000),
})
upload.on('progress', ({ acknowledged, durable, size }) => console.log(acknowledged, durable, size))
upload.on('phase', (phase) => console.log(phase))
const { storedName, digest, replaced } = await upload.done
console.log(storedName, digest, replaced)
// #endregion upload

// #region pause
await alice.uploads.pause()
await alice.uploads.resume()
for (const { id, name, state, reason } of await alice.uploads.tasks()) console.log(id, name, state, reason?.text)
// #endregion pause

// #region receive
const bob = await connect(url, { user: 'bob', state: './bob-state' })
const receiver = bob.receive(async (message) => {
  if (message.file) await bob.files.download(message.file, { to: './from-alice.csv' }).done
  else console.log(message.from, message.text(), message.headers)
  return 'done'
})
await upload.handled
await receiver[Symbol.asyncDispose]()
// #endregion receive

// #region files
for await (const { name, size } of alice.files.list({ prefix: 'inbox/' })) console.log(name, size)
await alice.files.download('inbox/table.csv', { to: './copy.csv' }).done
for await (const part of alice.files.download('inbox/table.csv')) console.log(part.length)
await alice.files.rename('inbox/table.csv', 'table.csv')
const { version } = await alice.files.stat('table.csv')
// #endregion files

// #region send
const sent = alice.send(['bob', 'carol'], JSON.stringify({ run: 7 }), {
  headers: { contentType: 'application/json' },
  timeToLiveMs: 3_600_000,
  receipt: true,
})
await sent.queued
console.log(sent.id, await sent.stored)
// #endregion send

// #region manual
for await (const message of bob.messages({ ack: 'manual', concurrency: 4 })) {
  const { run } = message.json<{ run?: number }>()
  if (run === undefined) message.reject('the message names no run')
  else if (message.attempt > 5) message.nak({ delayMs: 60_000 })
  else await message.ack(`run ${run} ended`)
  break
}
// #endregion manual

// #region receipts
for await (const { recipient, state, result } of sent.receipts()) {
  console.log(recipient, state, result)
  if (recipient === 'bob') break
}
// #endregion receipts

// #region inbox
const carol = createClient(url, { user: 'carol', state: stateDirectory('./carol-state') })
for await (const { seq, from, sentAt } of carol.inbox.list()) console.log(seq, from, sentAt)
for await (const { seq } of carol.inbox.list({ setAside: true })) await carol.inbox.return([seq])
// #endregion inbox

// #region devices
const phone = await connect(url, { user: 'dave', device: 'phone', state: './dave-phone' })
const laptop = await connect(url, { user: 'dave', device: 'laptop', state: './dave-laptop' })
const received = [phone, laptop].map((device) => device.messages()[Symbol.asyncIterator]().next())
for (const { name, isListening, waiting } of await phone.devices.list()) console.log(name, isListening, waiting)
await phone.devices.remove('old-phone')
// #endregion devices

// #region presence
await alice.presence.ready()
alice.presence.on('change', ({ user }, change) => console.log(user, change))
console.log(alice.presence.has('dave'))
// #endregion presence

// #region server
await server.send('system', ['dave'], 'maintenance at 18:00', { headers: { level: 'notice' } })
for (const { seq, name } of await server.setAside.list()) {
  console.log('onStored has failed for', name)
  await server.setAside.return([seq])
}
console.log(server.status().users, await server.unfinished())
// #endregion server

for (const { value } of await Promise.all(received)) console.log('dave', value?.text())

// #region errors
try {
  await alice.files.remove('table.csv', { version: `${version}?` })
} catch (error) {
  if (!(error instanceof OspError)) throw error
  console.log(error.code, error.retry, error.message)
}
// #endregion errors

// #region close
await Promise.all([alice, bob, carol, phone, laptop].map((client) => client.close()))
await server.close()
// #endregion close
