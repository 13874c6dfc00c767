import { fixed } from '../limits.ts'
import { having, type Kind, kinds, oneOf, optional } from '../options.ts'
import { messageOptions, metadata } from '../runtime/newMessage.ts'
import { digestNumbers } from '../wire/protocol.ts'
import type { ConnectOptions } from './client.ts'
import { isBlob, isBytes, isStream } from './uploads/uploadSource.ts'

const state: Kind = {
  takes: 'a client state, such as stateDirectory(path)',
  holds: (value) => {
    const { receipts, tasks, outbox } = (value ?? {}) as Record<string, unknown>
    const isStore = (store: unknown) => having('', 'load', 'put').holds(store)
    const isOutbox = outbox === undefined || having('', 'load', 'add', 'mark', 'remove').holds(outbox)
    return isStore(receipts) && (tasks === undefined || isStore(tasks)) && isOutbox
  },
}

export const connectOptions: { readonly [K in keyof ConnectOptions]-?: Kind } = {
  user: kinds.text,
  device: optional(kinds.text),
  token: optional(kinds.function),
  allowPlaintext: optional(kinds.flag),
  retryForMs: optional(kinds.duration),
  state: optional(state),
  uploadsAtOnce: optional(kinds.count),
  downloadsAtOnce: optional(kinds.count),
  limitRate: optional(kinds.rate),
  log: optional(kinds.function),
  platform: optional(kinds.platform),
  signal: optional(kinds.signal),
}

/** A source that the list of uploads takes as it is. */
export const fileSource: Kind = {
  takes: 'a source, such as file(path)',
  holds(value) {
    const { open, name } = (value ?? {}) as Record<string, unknown>
    return typeof open === 'function' && typeof name === 'string'
  },
}

/** Returns how to send a value that is not an upload source. */
function adviceAbout(source: unknown): string | undefined {
  if (source instanceof URL) return 'download it, and pass the body of the response'
  if (isStream(((source ?? {}) as Record<string, unknown>).body)) return 'pass its body'
  return Array.isArray(source) ? 'call upload for each of them' : undefined
}

export const uploadSource: Kind = {
  takes: 'a path, a file: URL, a Blob, bytes, a stream of bytes, or a source, such as file(path)',
  holds: (value) =>
    kinds.localPath.holds(value) || [fileSource.holds, isBlob, isBytes, isStream].some((holds) => holds(value)),
  advice: adviceAbout,
}

export const uploadOptions = {
  name: optional(kinds.text),
  digest: optional(oneOf(...Object.keys(digestNumbers))),
  metadata: optional(metadata),
  to: optional({
    takes: 'an array of user names',
    holds: (value) => Array.isArray(value) && value.every((name) => typeof name === 'string'),
  }),
  receipt: optional(kinds.flag),
  signal: optional(kinds.signal),
} as const

const { name: _name, ...ofSeveral } = uploadOptions
export const uploadAllOptions = ofSeveral
export const uploadSources: Kind = { takes: 'an array of sources', holds: Array.isArray }

export const sendOptions = { ...messageOptions, signal: optional(kinds.signal) } as const

export const receiveOptions = {
  concurrency: optional({
    takes: `a whole number from 1 to ${fixed.batchMessages}`,
    holds: (count) => kinds.count.holds(count) && (count as number) <= fixed.batchMessages,
  }),
  tries: optional(kinds.count),
} as const

export const messagesOptions = { ...receiveOptions, ack: optional(oneOf('auto', 'manual')) } as const

export const nakOptions = { delayMs: optional(kinds.delay) } as const

export const reason = kinds.text

export const result: Kind = { takes: 'a string', holds: (value) => typeof value === 'string' }

export const signalOptions = { signal: optional(kinds.signal) } as const

export const listMessagesOptions = { ...signalOptions, setAside: optional(kinds.flag) } as const

export const seqs: Kind = {
  takes: 'an array of seqs of messages',
  holds: (value) => Array.isArray(value) && value.every((seq) => Number.isSafeInteger(seq) && seq > 0),
}

export const ids: Kind = {
  takes: 'an array of ids of uploads',
  holds: (value) => Array.isArray(value) && value.every((id) => Number.isSafeInteger(id) && id > 0),
}

const signal = optional(kinds.signal)

export const onlineOptions = { signal } as const

export const listOptions = { prefix: optional(kinds.text), signal } as const

export const statOptions = { digest: optional(kinds.flag), signal } as const

export const removeOptions = { version: optional(kinds.text), signal } as const

export const renameOptions = { ...removeOptions, replace: optional(kinds.flag) } as const

const target: Kind = {
  takes: 'a path, a file: URL, or a target, such as fileTarget(path)',
  holds: (value) => kinds.localPath.holds(value) || having('', 'open').holds(value),
}

export const downloadOptions = {
  to: optional(target),
  overwrite: optional(kinds.flag),
  offset: optional({
    takes: 'a whole number of bytes, 0 or more',
    holds: (at) => Number.isSafeInteger(at) && (at as number) >= 0,
  }),
  version: optional(kinds.text),
  signal,
} as const

export const describedFile: Kind = {
  takes: 'a file name, a file that list or stat has described, or the reference in a message',
  holds: (value) => {
    const { name, version, size } = (value ?? {}) as Record<string, unknown>
    return typeof name === 'string' && typeof version === 'string' && Number.isSafeInteger(size)
  },
}
