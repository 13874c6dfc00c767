import type { Book } from '../adapters/records/book.ts'
import { ancestorsOf, recordKey } from '../adapters/records/keys.ts'
import type { StoredNames } from '../adapters/records/storedNames.ts'
import type { Claim, FileStore, PartialFile } from '../ports/storage.ts'
import type { PublishedImage, SimulatedDisk } from './disk.ts'
import { DiskPartialFile } from './diskPartialFile.ts'
import { PartialImage } from './partialImage.ts'
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
          this.#disk.partial.set(key, new PartialImage())
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
    return this.#disk.troubles.freeBytes
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
