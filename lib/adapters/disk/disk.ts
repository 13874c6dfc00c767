import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { OspError } from '../../errors.ts'
import { MiB } from '../../limits.ts'
import type { Platform } from '../../ports/platform.ts'
import type { FileStore, Storage, TransferStore } from '../../ports/storage.ts'
import { Mailboxes } from '../mailboxes/mailboxes.ts'
import { Book } from '../records/book.ts'
import { Transfers } from '../records/transfers.ts'
import { canMove, makeDirectory, makePath, syncDirectory } from './directories.ts'
import { DirectoryFlushes } from './directoryFlushes.ts'
import { attempt, errnoOf, fault, isFull } from './faults.ts'
import { DiskFiles } from './files.ts'
import { checkFormat, foldsCase } from './format.ts'
import { DiskJournal } from './journal.ts'
import { Layout } from './layout.ts'
import { LevelShelf } from './levelShelf.ts'
import { MessagesFirst } from './messagesFirst.ts'
import { lockedBy, removeOwner, writeOwner } from './owner.ts'
import { checkRecords, checkRights } from './rights.ts'
import { Tree } from './tree.ts'

/** Settings of a storage in a directory. */
export interface DiskOptions {
  /** Bytes after which the journal of messages begins another file. Files are what is removed when messages are gone. */
  readonly segmentBytes?: number
}

/** Everything in one directory of this machine, which one process at a time may have open; made if it is not there. */
export function disk(directory: string, { segmentBytes = 16 * MiB }: DiskOptions = {}): Storage {
  return new DiskStorage(new Layout(directory), segmentBytes)
}

class DiskStorage implements Storage {
  readonly transfers: TransferStore
  readonly files: FileStore
  readonly mailboxes = new Mailboxes()
  readonly #layout: Layout
  readonly #segmentBytes: number
  readonly #tree: Tree
  readonly #book = new Book()
  readonly #files: DiskFiles
  #shelf: LevelShelf | undefined
  #messagesFirst: MessagesFirst | undefined
  #wallTime: () => number = Date.now

  constructor(layout: Layout, segmentBytes: number) {
    this.#layout = layout
    this.#segmentBytes = segmentBytes
    this.#tree = new Tree(layout.files, new DirectoryFlushes())
    this.#files = new DiskFiles(layout, this.#tree, this.#book, async () => this.#messagesFirst?.turn())
    this.files = this.#files
    this.transfers = new Transfers(this.#book, this.#files, () => this.#wallTime())
  }

  async open(platform: Platform): Promise<void> {
    await makeDirectories(this.#layout)
    const shelf = await openShelf(this.#layout)
    this.#shelf = shelf
    try {
      await writeOwner(this.#layout, platform.clock.wallTime())
      this.#wallTime = () => platform.clock.wallTime()
      this.#tree.foldsCase = await foldsCase(this.#layout)
      await this.#recover(shelf)
      const first = new MessagesFirst(platform.clock)
      this.#messagesFirst = first
      const journal = await DiskJournal.open(this.#layout.mailboxes, this.#segmentBytes, platform, first)
      await this.mailboxes.open(journal, platform)
    } catch (error) {
      await this[Symbol.asyncDispose]()
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const shelf = this.#shelf
    if (!shelf) return
    this.#shelf = undefined
    this.#book.close()
    await this.#files.close()
    await this.mailboxes.close()
    // Before the lock goes, or the next owner's would be removed.
    await removeOwner(this.#layout)
    await shelf.close()
  }

  /** Takes up the records, and removes the partial files that have none. */
  async #recover(shelf: LevelShelf): Promise<void> {
    const { partial } = this.#layout
    const wanted = new Set<string>()
    await this.#book.open(shelf, ({ user, name }) => wanted.add(this.#layout.partialName(user, name)))
    const entries = await attempt(`reading the directory ${partial}`, () => readdir(partial))
    for (const entry of entries) {
      if (wanted.has(entry)) continue
      const path = join(partial, entry)
      await attempt(`removing ${path}`, () => rm(path, { force: true, recursive: true }))
    }
  }
}

/** Makes what is missing: durable. */
async function makeDirectories(layout: Layout): Promise<void> {
  const { directory, records, partial, files, mailboxes } = layout
  await makePath(directory)
  await checkRights(layout)
  await checkFormat(layout)
  for (const path of [records, partial, files, mailboxes]) await makeDirectory(path)
  await syncDirectory(directory)
  await choosePartial(layout)
}

/** A rename does not cross file systems: where `files` is a mount of its own, partial files are kept on it. */
async function choosePartial(layout: Layout): Promise<void> {
  const former = layout.partial
  if (await canMove(former, layout.files)) return
  layout.keepPartialBelowFiles()
  await makeDirectory(layout.partial)
  await syncDirectory(layout.files)
  await checkRights(layout)
  // What was kept there before the mount came cannot be published any more.
  for (const entry of await attempt(`reading the directory ${former}`, () => readdir(former))) {
    const path = join(former, entry)
    await attempt(`removing ${path}`, () => rm(path, { force: true, recursive: true }))
  }
}

async function openShelf(layout: Layout): Promise<LevelShelf> {
  try {
    await checkRecords(layout)
    return await LevelShelf.open(layout.records)
  } catch (error) {
    const { cause } = error as Error
    if (errnoOf(cause) === 'LEVEL_LOCKED') throw await lockedBy(layout, cause)
    if (isFull(error)) throw fault(error, `opening ${layout.records}`)
    throw new OspError(
      'internal',
      `the records in ${layout.records} cannot be opened (${cause instanceof Error ? cause.message : error}); ` +
        'check the disk, restore that directory from a backup, or move it away: unfinished uploads then begin again',
      { cause: error },
    )
  }
}
