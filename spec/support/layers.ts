import type { MailboxStore } from '../../lib/ports/mailboxes.ts'
import type { Listener, Socket, SocketEvents, Transport } from '../../lib/ports/socket.ts'
import type { PartialFile, Storage, TransferStore } from '../../lib/ports/storage.ts'

/** Overrides of a storage layer; everything else is passed on. */
export interface StorageChanges {
  readonly transfers?: (transfers: TransferStore) => Partial<TransferStore>
  readonly file?: (file: PartialFile) => Partial<PartialFile>
  readonly mailboxes?: (mailboxes: MailboxStore) => Partial<MailboxStore>
}

/** Wraps a storage in a layer. */
export function storageLayer(below: Storage, { transfers, file, mailboxes }: StorageChanges): Storage {
  const { files, catalogue } = below
  return {
    transfers: bound(below.transfers, transfers?.(below.transfers) ?? {}),
    files: bound(files, {
      open: async (claim) => {
        const opened = await files.open(claim)
        return bound(opened, file?.(opened) ?? {})
      },
    }),
    mailboxes: bound(below.mailboxes, mailboxes?.(below.mailboxes) ?? {}),
    ...(catalogue && { catalogue }),
    open: (platform) => below.open(platform),
    [Symbol.asyncDispose]: () => below[Symbol.asyncDispose](),
  }
}

/** Overrides for each socket and for its events. */
export interface TransportChanges {
  readonly socket?: (socket: Socket) => Partial<Socket>
  readonly told?: (to: SocketEvents) => Partial<SocketEvents>
}

/** Wraps a transport in a layer. */
export function transportLayer(below: Transport, { socket, told }: TransportChanges): Transport {
  const over = (end: Socket): Socket =>
    bound(end, { start: (to) => end.start(bound(to, told?.(to) ?? {})), ...socket?.(end) })
  const listening = (listener: Listener): Listener =>
    bound(listener, { start: (accept) => listener.start((end) => accept(over(end))) })
  return {
    listen: async (options) => listening(await below.listen(options)),
    dial: async (options, signal) => over(await below.dial(options, signal)),
  }
}

/** Returns `below` with these changes. */
function bound<T extends object>(below: T, changes: Partial<T>): T {
  return new Proxy(below, {
    get(_, name) {
      const changed = Reflect.get(changes, name)
      if (changed !== undefined) return changed
      const value = Reflect.get(below, name)
      return typeof value === 'function' ? value.bind(below) : value
    },
    set: (_, name, value) => Reflect.set(below, name, value),
  })
}
