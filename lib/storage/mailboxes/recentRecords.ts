import type { IndexEntry } from './indexEntry.ts'

/** What the memory of a message at hand takes besides its record. */
const overheadBytes = 64

/** Keeps the records of the latest messages at hand, so that recipients who are there get them without a look at the disk. */
export class RecentRecords {
  readonly #mostBytes: number
  #queue: IndexEntry[] = []
  #first = 0
  #bytes = 0

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes
  }

  add(held: IndexEntry, record: Buffer): void {
    held.record = record
    this.#queue.push(held)
    this.#bytes += held.length + overheadBytes
    while (this.#bytes > this.#mostBytes) this.#letGo()
  }

  #letGo(): void {
    const held = this.#queue[this.#first++]
    if (!held) return
    held.record = undefined
    this.#bytes -= held.length + overheadBytes
    if (this.#first <= this.#queue.length / 2) return
    this.#queue = this.#queue.slice(this.#first)
    this.#first = 0
  }
}
