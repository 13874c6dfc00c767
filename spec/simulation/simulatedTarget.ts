import type { FileTarget, TargetContent } from '../../lib/ports/target.ts'
import { joined } from './partialImage.ts'
import type { SimulatedProcess } from './process.ts'

/** Longest time of an operation on a target. */
const operationMs = 4

/** The place of a download. It outlives the processes that write to it. */
export class SimulatedTarget {
  /** The content of the latest download that has ended. */
  whole: Uint8Array | undefined
  #whole: TargetContent | undefined
  #part: { readonly content: TargetContent; bytes: Uint8Array } | undefined

  /** The target as a process sees it. */
  openedBy(process: SimulatedProcess): FileTarget {
    const take = <T>(reason: string, effect: () => T) => process.effect(operationMs, reason, effect)
    return {
      open: async (content) => {
        const isWhole = await take('time to open a target', () => isSame(this.#whole, content))
        if (isWhole) return undefined
        const found = this.#part && isSame(this.#part.content, content) ? this.#part : undefined
        const part = found ?? { content, bytes: new Uint8Array() }
        this.#part = part
        return {
          keptBytes: part.bytes.length,
          write: (parts, offset) => {
            const bytes = joined(parts)
            return take('time to write to a target', () => {
              part.bytes = joined([part.bytes.subarray(0, offset), bytes])
            })
          },
          read: (into, offset) =>
            take('time to read a target', () => {
              const piece = part.bytes.subarray(offset, offset + into.length)
              into.set(piece)
              return piece.length
            }),
          commit: () =>
            take('time to rename a target', () => {
              this.whole = part.bytes
              this.#whole = content
              this.#part = undefined
            }),
          discard: () =>
            take('time to remove a target', () => {
              this.#part = undefined
            }),
          [Symbol.asyncDispose]: async () => {},
        }
      },
    }
  }
}

function isSame(a: TargetContent | undefined, b: TargetContent): boolean {
  return a?.size === b.size && a.algorithm === b.algorithm && a.digest === b.digest
}
