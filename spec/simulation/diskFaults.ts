import { OspError } from '../../lib/errors.ts'
import type { SeededRandom } from '../../lib/testing/random.ts'

/** What can fail: on a partial file, on a record, or when something is looked up. */
export const operations = ['read', 'write', 'flush', 'record', 'look'] as const

export type Operation = (typeof operations)[number]

/** What is the matter with a disk. */
export class DiskFaults {
  /** Bytes that can still be written. */
  freeBytes = Number.MAX_SAFE_INTEGER
  /** Something of it has failed at some time: what a server then says of itself may be late. */
  any = false
  /** `recordKey` of the partial files in which bits were flipped. */
  readonly rotten = new Set<string>()
  readonly #failing = new Map<Operation, number>()
  readonly #random: SeededRandom

  constructor(random: SeededRandom) {
    this.#random = random.fork('disk')
  }

  /** The next so many operations of this kind fail. */
  fail(operation: Operation, times: number): void {
    this.any = true
    this.#failing.set(operation, times)
  }

  fill(): void {
    this.any = true
    this.freeBytes = 0
  }

  /** There is room again. */
  empty(): void {
    this.freeBytes = Number.MAX_SAFE_INTEGER
  }

  /** Nothing is the matter from now on, but for what has happened. */
  heal(): void {
    this.empty()
    this.#failing.clear()
  }

  /** Carries out an operation, or throws instead; what fails has perhaps been done `partly`. */
  attempt<T>(operation: Operation, act: () => T, partly: () => unknown = () => {}): T {
    const left = this.#failing.get(operation) ?? 0
    if (left === 0) return act()
    this.#failing.set(operation, left - 1)
    if (this.#random.chance(0.5, 'an operation that fails has taken place in part')) partly()
    throw new OspError('internal', `the disk has failed: ${operation}`)
  }

  /** Throws where there is no room for so many bytes. */
  reserve(bytes: number): void {
    if (bytes > this.freeBytes) throw new OspError('disk-full', 'the simulated disk is full')
  }
}
