// Two users: a message to bob waits until bob listens, and is then delivered once.
import { connect } from 'ospd'

const to = `ospd://127.0.0.1:${process.env.PORT ?? 6682}`
const alice = await connect(to, { user: 'alice' })
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
