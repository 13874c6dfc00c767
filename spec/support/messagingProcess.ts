/** A program that sends messages and prints the messages that it receives: `messagingProcess.ts ORDERS`, as JSON. */
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { createClient } from '../../lib/index.ts'
import { stateDirectory } from '../../lib/node.ts'
import type { Socket, SocketEvents, Transport } from '../../lib/ports/socket.ts'
import type { EventName } from '../../lib/wire/message.ts'
import { events } from '../../lib/wire/protocol.ts'
import { eagerPlatform } from './chat/eager.ts'
import type { MessagingOrders } from './messagingProcesses.ts'

const {
  port,
  user,
  state,
  sends = [],
  listens = false,
  holds,
  dies,
}: MessagingOrders = JSON.parse(process.argv[2] ?? '')

const die = () => process.kill(process.pid, 'SIGKILL')
const isDeadly = (event: number, when: string) => dies?.when === when && event === events[dies.at as EventName].number

/** Kills this process when the specified frame has been sent, or has arrived and has not been handled yet. */
function deadly(socket: Socket): Socket {
  const send = socket.send.bind(socket)
  const start = socket.start.bind(socket)
  socket.send = (frame, left) => {
    if (isDeadly(frame.event, 'sending')) die()
    return send(frame, () => {
      if (isDeadly(frame.event, 'sent')) die()
      left?.()
    })
  }
  socket.start = (to: SocketEvents) =>
    start({
      frame(frame) {
        if (isDeadly(frame.event, 'coming')) die()
        to.frame(frame)
      },
      begun: (payloadBytes) => to.begun(payloadBytes),
      fault: (why) => to.fault(why),
      drained: () => to.drained(),
      closed: (why) => to.closed(why),
    })
  return socket
}

const plain = tcp({ port })
const to: Transport = {
  listen: plain.listen,
  dial: async (options, signal) => deadly(await plain.dial(options, signal)),
}
const client = createClient(to, {
  user,
  platform: eagerPlatform(),
  ...(state === undefined ? {} : { state: stateDirectory(state) }),
})

if (listens) {
  client.receive(async (message) => {
    const { from, seq, attempt } = message
    console.log(`handed ${JSON.stringify({ text: message.text(), from, seq, attempt })}`)
    if (message.text() === holds) await new Promise(() => {})
  })
}
for (const { id, recipients, text } of sends) {
  client.send(recipients, text, { id }).then(
    () => console.log(`acknowledged ${text}`),
    (error: Error) => console.log(`refused ${text}: ${error.message}`),
  )
}
