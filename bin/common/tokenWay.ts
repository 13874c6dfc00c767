import type { Transport } from 'ospd'
import type { TokenSource } from './token.ts'

/** The transport of a client that logs in by `token`: it tells the source when the server can judge the token, and over what. */
export function tokenWay(to: Transport, token: TokenSource): Transport {
  return {
    listen: (options) => to.listen(options),
    async dial(options, signal) {
      const socket = await to.dial(options, signal)
      const start = socket.start.bind(socket)
      // The client starts a socket only if the token may be sent over it.
      socket.start = (events) => {
        token.reached(socket)
        start(events)
      }
      return socket
    },
  }
}
