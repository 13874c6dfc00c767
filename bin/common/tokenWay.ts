import { OspError, type Socket, type Transport } from 'ospd'
import type { TokenSource } from './token.ts'

/**
 * The way to the server of a client that lets itself in by `token`: it tells the source when the server can judge the token,
 * and goes no further where others could read it, unless `insecure` says that this does not matter.
 */
export function tokenWay(to: Transport, token: TokenSource, insecure: boolean): Transport {
  return {
    listen: (options) => to.listen(options),
    async dial(options, signal) {
      const socket = await to.dial(options, signal)
      if (token.isGiven && !insecure) checkWay(socket)
      token.reached()
      return socket
    },
  }
}

/** Ends a socket and throws OspError `unauthorized` where others could read a token on the way to its peer. */
export function checkWay(socket: Socket): void {
  if (socket.guarded || socket.peer.local) return
  socket.destroy()
  throw new OspError(
    'unauthorized',
    `the token was not sent to ${socket.peer.host}: others could read it on the way; give --tls, or --insecure if the way is safe`,
  )
}
