import type { SeededRandom } from '../support/random.ts'

/** Bytes that a disk writes at once: a crash leaves each such block or not. */
const blockBytes = 128

/** A partial file on a disk: its written and its flushed bytes. */
export class PartialImage {
  written: Uint8Array = new Uint8Array()
  flushed: Uint8Array = new Uint8Array()
  /** Modification time, by the wall clock of the process. */
  writtenAt = 0
  /** Processes that have it open. */
  readonly openers = new Set<{ readonly open: boolean }>()
  /**
   * Whether a flush has failed: the bytes that it should have flushed are not durable, whatever later flushes report.
   */
  #lostFrom: number | undefined

  write(offset: number, bytes: Uint8Array): void {
    this.written = joined([this.written.subarray(0, offset), bytes, this.written.subarray(offset + bytes.length)])
    if (this.#lostFrom !== undefined && offset <= this.#lostFrom) this.#lostFrom = undefined
  }

  truncate(length: number): void {
    this.written = this.written.slice(0, length)
    if (this.#lostFrom !== undefined && length <= this.#lostFrom) this.#lostFrom = undefined
  }

  /** Makes the written `bytes` durable, unless a flush of them has failed before. */
  flush(bytes: Uint8Array): void {
    this.flushed = this.#lostFrom === undefined ? bytes : bytes.subarray(0, this.#lostFrom)
  }

  /** A flush has failed. */
  lose(): void {
    if (this.#agreed === this.written.length) return
    this.#lostFrom = Math.min(this.#lostFrom ?? Number.POSITIVE_INFINITY, this.#agreed)
  }

  /** The power fails: any of the unflushed blocks may survive, in any order, the last one perhaps in part. */
  crash(random: SeededRandom): void {
    const { flushed, written } = this
    const durable = this.#agreed < flushed.length ? flushed : written.slice(0, flushed.length)
    const kept = random.integer(
      flushed.length,
      Math.max(flushed.length, written.length),
      'unflushed bytes that are left',
    )
    const left = joined([durable, written.subarray(flushed.length, kept)])
    const isOrdered = random.chance(0.5, 'unflushed bytes are left in order')
    for (let at = flushed.length; at < left.length && !isOrdered; at += blockBytes) {
      if (random.chance(0.5, 'an unflushed block is lost')) left.fill(0, at, Math.min(at + blockBytes, left.length))
    }
    this.written = this.#agreed < flushed.length ? flushed : left
    this.flushed = this.written.slice()
    this.#lostFrom = undefined
  }

  /** Flips a bit. */
  rot(random: SeededRandom): void {
    const at = random.integer(0, this.written.length - 1, 'where a bit flips')
    const bit = 1 << random.integer(0, 7, 'a bit')
    const flip = (bytes: Uint8Array) => bytes.map((byte, index) => (index === at ? byte ^ bit : byte))
    this.written = flip(this.written)
    this.flushed = flip(this.flushed)
  }

  get isOpen(): boolean {
    return [...this.openers].some(({ open }) => open)
  }

  /** Number of leading bytes in which the written and the flushed bytes are equal. */
  get #agreed(): number {
    const { flushed, written } = this
    for (let at = 0; at < flushed.length; at++) if (flushed[at] !== written[at]) return at
    return flushed.length
  }
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}
