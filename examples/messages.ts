// Two users: a message to bob waits until bob listens, and is then delivered once. The server is serve.ts.
import { connect, createClient } from 'ospd'

const to = `ospd://127.0.0.1:${process.env.PORT ?? 6682}`
const alice = createClient(to, { user: 'alice' })
alice.on('status', (status, error) => status === 'waiting' && console.error(error?.message))
console.log(await alice.send(['bob', 'carol'], 'hi'))

const bob = await connect(to, { user: 'bob', state: './bob-state' })
await new Promise<void>((resolve) => {
  bob.receive((message) => {
    console.log(message.from, message.text())
    resolve()
  })
})
const online = [...bob.presence].map(({ user }) => user)
console.log('online:', online)
await Promise.all([alice.close(), bob.close()])
