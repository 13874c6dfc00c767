import { OspError } from '../../lib/errors.ts'
import type { SeededRandom } from '../support/random.ts'

/** What can fail: an operation on a partial file, on a record, on the record of a stored file, or a lookup. */
export const operations = ['read', 'write', 'flush', 'record', 'completion', 'look'] as const

export type Operation = (typeof operations)[number]

/** The faults of a disk. */
export class DiskFaults {
  /** Number of bytes that can still be written. */
  freeBytes = Number.MAX_SAFE_INTEGER
  /** Whether any operation has failed so far: a server can report its effects later. */
  any = false
  /** `recordKey` of the partial files in which bits were flipped. */
  readonly rotten = new Set<string>()
  readonly #failing = new Map<Operation, number>()
  readonly #random: SeededRandom

  constructor(random: SeededRandom) {
    this.#random = random.fork('disk')
  }

  /** Makes the next `count` operations of this kind fail. */
  fail(operation: Operation, times: number): void {
    this.any = true
    this.#failing.set(operation, times)
  }

  fill(): void {
    this.any = true
    this.freeBytes = 0
  }

  /** Frees the disk. */
  empty(): void {
    this.freeBytes = Number.MAX_SAFE_INTEGER
  }

  /** Removes all faults, but not their effects. */
  heal(): void {
    this.empty()
    this.#failing.clear()
  }

  /** Executes an operation, or throws instead; a failing operation may be done `partly`. */
  attempt<T>(operation: Operation, act: () => T, partly: () => unknown = () => {}): T {
    const left = this.#failing.get(operation) ?? 0
    if (left === 0) return act()
    this.#failing.set(operation, left - 1)
    if (this.#random.chance(0.5, 'an operation that fails has taken place in part')) partly()
    throw new OspError('internal', `the disk has failed: ${operation}`)
  }

  /** Throws if the disk has less free space. */
  reserve(bytes: number): void {
    if (bytes > this.freeBytes) throw new OspError('disk-full', 'the simulated disk is full')
  }
}
