import { OspError } from '../../lib/errors.ts'
import type { Claim, PartialFile } from '../../lib/ports/storage.ts'
import { same } from '../../lib/runtime/incrementalDigest.ts'
import { type RecordStore, recordKey } from '../../lib/storage/transfers/recordStore.ts'
import { lostFile } from '../../lib/storage/transfers/storedNames.ts'
import type { PublishedImage, SimulatedDisk } from './disk.ts'
import type { Operation } from './diskFaults.ts'
import { joined, type PartialImage } from './partialImage.ts'
import type { SimulatedProcess } from './process.ts'

/** A partial file of a simulated disk that a process has open. */
export class DiskPartialFile implements PartialFile {
  readonly #disk: SimulatedDisk
  readonly #process: SimulatedProcess
  readonly #book: RecordStore
  readonly #claim: Claim
  readonly #key: string
  readonly #opened: PartialImage | undefined
  #closed = false

  constructor(disk: SimulatedDisk, process: SimulatedProcess, book: RecordStore, claim: Claim) {
    this.#disk = disk
    this.#process = process
    this.#book = book
    this.#claim = claim
    this.#key = recordKey(claim.user, claim.name)
    this.#opened = disk.partial.get(this.#key)
    this.#process.handles++
    this.#opened?.openers.add(this)
  }

  get open(): boolean {
    return !this.#closed && this.#process.alive
  }

  get length(): number {
    return this.#disk.partial.get(this.#key)?.written.length ?? 0
  }

  write(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    const bytes = joined(parts)
    const write = (length: number) => {
      const image = this.#image()
      // The server writes the bytes of a file without a record again. They need not be those of a source.
      const isRewrite = same(image.written.subarray(offset, offset + bytes.length), bytes)
      image.write(offset, bytes.slice(0, length))
      image.writtenAt = this.#process.platform.clock.wallTime()
      if (!isRewrite) this.#disk.appended.push({ key: this.#key, offset, bytes })
    }
    const { faults } = this.#disk
    return this.#guard(
      'time of a write',
      () => {
        faults.reserve(bytes.length)
        faults.attempt('write', () => write(bytes.length))
      },
      // A killed process can have written any part of it.
      () => write(this.#process.platform.random.fraction('bytes of a write that a kill has torn') * bytes.length),
    )
  }

  read(into: Uint8Array, offset: number): Promise<number> {
    return this.#process.effect(this.#disk.operationMs, 'time of a read', () => {
      this.#check()
      return this.#attempt('read', () => {
        const piece = this.#image().written.subarray(offset, offset + into.length)
        into.set(piece)
        return piece.length
      })
    })
  }

  async flush(): Promise<void> {
    const now = this.#disk.partial.get(this.#key)?.written
    await this.#guard('time of a flush', () => {
      const image = this.#disk.partial.get(this.#key)
      if (!image || !now) return
      this.#attempt(
        'flush',
        () => image.flush(now),
        () => image.lose(),
      )
    })
  }

  truncate(length: number): Promise<void> {
    return this.#guard('time to truncate', () => this.#image().truncate(length))
  }

  publish(storedName: string, replace: boolean): Promise<boolean> {
    return this.#guard('time to publish', () => {
      const { user } = this.#claim
      const names = this.#disk.published.get(user) ?? new Map<string, PublishedImage>()
      const image = this.#disk.partial.get(this.#key)
      const verified = this.#verified()
      if (!image) {
        if (verified !== undefined && names.get(storedName)?.verified === verified) return true
        throw lostFile('neither the partial file nor the published one has the verified bytes')
      }
      if (names.has(storedName) && !replace) return false
      const { written, flushed } = image
      if (flushed.length !== written.length) this.#disk.violations.push(`${user}/${storedName} was published unflushed`)
      const serial = ++this.#disk.publications
      this.#disk.put(user, storedName, { bytes: written, serial, verified })
      this.#disk.partial.delete(this.#key)
      return true
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#process.handles--
    this.#opened?.openers.delete(this)
  }

  #attempt<T>(operation: Operation, act: () => T, partly?: () => unknown): T {
    return this.#disk.faults.attempt(operation, act, partly)
  }

  #guard<T>(reason: string, effect: () => T, partly?: () => unknown): Promise<T> {
    return this.#book.guard(this.#claim, () => {
      this.#check()
      return this.#process.effect(this.#disk.operationMs, reason, effect, partly)
    })
  }

  /** Returns the same text for the same verified upload, in every process. */
  #verified(): string | undefined {
    const record = this.#book.log.record(this.#claim.user, this.#claim.name)
    return record?.verified && `${record.size}:${record.modifiedAt}:${record.verified.digest}`
  }

  #image(): PartialImage {
    const image = this.#disk.partial.get(this.#key)
    if (!image) throw new OspError('closed', 'the partial file is gone')
    return image
  }

  #check(): void {
    if (this.#closed) throw new OspError('closed', 'the partial file is closed')
  }
}
