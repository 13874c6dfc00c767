import type { Transport } from '../../lib/ports/socket.ts'

/**
 * Wraps a transport so that every client seems to connect from another machine, with the address that `from` returns. A
 * socket that the server closes ends when `gone` resolves.
 */
export function remoteClients(transport: Transport, from = () => '192.0.2.1', gone = Promise.resolve()): Transport {
  return {
    dial: (options, signal) => transport.dial(options, signal),
    async listen(options) {
      const listener = await transport.listen(options)
      return new Proxy(listener, {
        get(target, key) {
          if (key !== 'start') {
            const value = Reflect.get(target, key, target)
            return typeof value === 'function' ? value.bind(target) : value
          }
          return (accept: (socket: unknown) => void) =>
            target.start((socket) => {
              const close = socket.close.bind(socket)
              socket.close = (last) => close(last).then(() => gone)
              Object.defineProperty(socket, 'peer', { value: { host: from(), port: 1, local: false } })
              accept(socket)
            })
        },
      })
    },
  }
}
