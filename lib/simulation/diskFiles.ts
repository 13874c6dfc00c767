import type { Book } from '../adapters/records/book.ts'
import { ancestorsOf, recordKey } from '../adapters/records/keys.ts'
import type { StoredNames } from '../adapters/records/storedNames.ts'
import { OspError } from '../errors.ts'
import type { Claim, FileStore, PartialFile } from '../ports/storage.ts'
import type { PublishedImage, SimulatedDisk } from './disk.ts'
import type { SimulatedProcess } from './process.ts'

/** Partial and published files on a simulated disk: what is written is durable only once it was flushed. */
export class DiskFiles implements FileStore, StoredNames {
  readonly foldsCase = false
  readonly #disk: SimulatedDisk
  readonly #process: SimulatedProcess
  readonly #book: Book

  constructor(disk: SimulatedDisk, process: SimulatedProcess, book: Book) {
    this.#disk = disk
    this.#process = process
    this.#book = book
  }

  open(claim: Claim): Promise<PartialFile> {
    return this.#book.fences.guard(claim, async () => {
      const verified = (await this.#book.record(claim.user, claim.name))?.verified !== undefined
      const key = recordKey(claim.user, claim.name)
      await this.#take('time to open', () => {
        if (!verified && !this.#disk.partial.has(key)) {
          this.#disk.partial.set(key, { written: new Uint8Array(), flushed: new Uint8Array() })
        }
      })
      return new DiskPartialFile(this.#disk, this.#process, this.#book, claim)
    })
  }

  remove(user: string, name: string): Promise<void> {
    return this.dropPartial(user, name)
  }

  stored(user: string, name: string): Promise<boolean> {
    return this.#take('time of a look', () => this.#disk.published.get(user)?.has(name) ?? false)
  }

  used(user: string, name?: string): Promise<number> {
    return this.#take('time of a count', () => {
      const files = Array.from(this.#disk.published.get(user) ?? [])
      return files.reduce(
        (sum, [other, { bytes }]) => sum + (name === undefined || name === other ? bytes.length : 0),
        0,
      )
    })
  }

  async free(): Promise<number> {
    return Number.MAX_SAFE_INTEGER
  }

  async conflict(user: string, name: string): Promise<string | undefined> {
    const names = this.#disk.published.get(user) ?? new Map<string, PublishedImage>()
    const ancestor = ancestorsOf(name).find((folder) => names.has(folder))
    return ancestor ?? Array.from(names.keys()).find((other) => other.startsWith(`${name}/`))
  }

  async stamp(user: string, name: string): Promise<string | undefined> {
    return this.#disk.published.get(user)?.get(name)?.serial.toString()
  }

  async dropPartial(user: string, name: string): Promise<void> {
    await this.#take('time of a removal', () => this.#disk.partial.delete(recordKey(user, name)))
  }

  #take<T>(reason: string, effect: () => T): Promise<T> {
    return this.#process.effect(this.#disk.operationMs, reason, effect)
  }
}

class DiskPartialFile implements PartialFile {
  readonly #disk: SimulatedDisk
  readonly #process: SimulatedProcess
  readonly #book: Book
  readonly #claim: Claim
  readonly #key: string
  #closed = false

  constructor(disk: SimulatedDisk, process: SimulatedProcess, book: Book, claim: Claim) {
    this.#disk = disk
    this.#process = process
    this.#book = book
    this.#claim = claim
    this.#key = recordKey(claim.user, claim.name)
  }

  get length(): number {
    return this.#disk.partial.get(this.#key)?.written.length ?? 0
  }

  write(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.#guard('time of a write', () => {
      const image = this.#image()
      const bytes = joined(parts)
      image.written = joined([image.written.subarray(0, offset), bytes])
      this.#disk.appended.push({ key: this.#key, offset, bytes })
    })
  }

  read(into: Uint8Array, offset: number): Promise<number> {
    return this.#process.effect(this.#disk.operationMs, 'time of a read', () => {
      this.#check()
      const piece = this.#image().written.subarray(offset, offset + into.length)
      into.set(piece)
      return piece.length
    })
  }

  async flush(): Promise<void> {
    const now = this.#disk.partial.get(this.#key)?.written
    await this.#guard('time of a flush', () => {
      const image = this.#disk.partial.get(this.#key)
      if (image && now) image.flushed = now
    })
  }

  truncate(length: number): Promise<void> {
    return this.#guard('time to truncate', () => {
      const image = this.#image()
      image.written = image.written.slice(0, length)
    })
  }

  publish(storedName: string, replace: boolean): Promise<boolean> {
    return this.#guard('time to publish', () => {
      const { user } = this.#claim
      const names = this.#disk.published.get(user) ?? new Map<string, PublishedImage>()
      const image = this.#disk.partial.get(this.#key)
      if (!image) return names.has(storedName)
      if (names.has(storedName) && !replace) return false
      if (image.flushed.length !== image.written.length)
        throw new OspError('internal', 'a file was published unflushed')
      this.#disk.published.set(user, names.set(storedName, { bytes: image.written, serial: ++this.#disk.publications }))
      this.#disk.partial.delete(this.#key)
      return true
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
  }

  #guard<T>(reason: string, effect: () => T): Promise<T> {
    return this.#book.fences.guard(this.#claim, () => {
      this.#check()
      return this.#process.effect(this.#disk.operationMs, reason, effect)
    })
  }

  #image(): { written: Uint8Array; flushed: Uint8Array } {
    const image = this.#disk.partial.get(this.#key)
    if (!image) throw new OspError('closed', 'the partial file is gone')
    return image
  }

  #check(): void {
    if (this.#closed) throw new OspError('closed', 'the partial file is closed')
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}
