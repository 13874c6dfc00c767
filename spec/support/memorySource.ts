import type { FileSource } from '../../lib/ports/source.ts'

/** A source in memory that a spec can change while it is being sent. */
export interface MemorySource extends FileSource {
  bytes: Uint8Array
  modifiedAt: number
  /** Number of times that it was opened, and number of open ones. */
  opened: number
  notClosed: number
  /** Called before each read. */
  beforeRead: (offset: number) => void | Promise<void>
}

export function memorySource(name: string, bytes: Uint8Array, modifiedAt = 1_000): MemorySource {
  const source: MemorySource = {
    name,
    bytes,
    modifiedAt,
    opened: 0,
    notClosed: 0,
    beforeRead: () => {},
    async open() {
      const { bytes: then, modifiedAt } = source
      source.opened++
      source.notClosed++
      return {
        size: then.length,
        modifiedAt,
        async read(into, offset) {
          await source.beforeRead(offset)
          const piece = source.bytes.subarray(offset, offset + into.length)
          into.set(piece)
          return piece.length
        },
        unchanged: async () => source.bytes.length === then.length && source.modifiedAt === modifiedAt,
        async [Symbol.asyncDispose]() {
          source.notClosed--
        },
      }
    },
  }
  return source
}

/** Returns bytes that differ everywhere, the same for the same seed. */
export function patterned(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length)
  let state = seed >>> 0 || 1
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    bytes[at] = state >>> 24
  }
  return bytes
}
