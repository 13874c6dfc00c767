import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { OspError } from '../../errors.ts'
import { fixed, MiB } from '../../limits.ts'
import { checkArgument, checkOptions, kinds, optional } from '../../options.ts'
import type { Platform } from '../../ports/platform.ts'
import type { Storage } from '../../ports/storage.ts'
import { StoredCatalogue } from '../../storage/catalogue/storedCatalogue.ts'
import { Mailboxes } from '../../storage/mailboxes/mailboxes.ts'
import { RecordStore } from '../../storage/transfers/recordStore.ts'
import { Transfers } from '../../storage/transfers/transfers.ts'
import { UploadLog } from '../../storage/transfers/uploadLog.ts'
import { Ballast } from './ballast.ts'
import { canMove, makeDirectory, makePath, syncDirectory } from './directories.ts'
import { attempt } from './faults.ts'
import { DiskFileRecords } from './fileRecords.ts'
import { DiskFiles } from './files.ts'
import { checkFormat } from './format.ts'
import { DiskJournal } from './journal.ts'
import { type Layout, layoutOf } from './layout.ts'
import { lockData } from './lock.ts'
import { checkRights } from './rights.ts'
import { WritePriority } from './writePriority.ts'

/** Settings of a storage in a directory. */
export interface DiskOptions {
  /** Bytes after which the journals of messages and of uploads start another file. Compaction removes whole files. */
  readonly segmentBytes?: number
}

/** Returns a storage in a directory, created if it is missing. One process at a time can have it open. */
export function disk(directory: string, options: DiskOptions = {}): Storage {
  checkArgument('disk', 'the directory', kinds.path, directory)
  checkOptions('disk', { segmentBytes: optional(kinds.count) }, options)
  const { segmentBytes = defaultSegmentBytes } = options
  return new DiskStorage(layoutOf(directory), segmentBytes)
}

const defaultSegmentBytes = 16 * MiB

/** The storage in a data directory. */
export class DiskStorage implements Storage {
  readonly transfers: Transfers
  readonly files: DiskFiles
  readonly mailboxes = new Mailboxes()
  readonly catalogue: StoredCatalogue
  /** The paths. That of partial files is chosen when the storage is opened. */
  readonly layout: Layout
  readonly #segmentBytes: number
  readonly #records = new RecordStore()
  readonly #fileRecords: DiskFileRecords
  readonly #ballast: Ballast
  #lock: AsyncDisposable | undefined
  #priority: WritePriority | undefined
  #platform: Platform | undefined

  constructor(layout: Layout, segmentBytes = defaultSegmentBytes) {
    this.layout = layout
    this.#segmentBytes = segmentBytes
    this.#ballast = new Ballast(layout.ballast)
    const ready = async () => this.#priority?.ready()
    this.files = new DiskFiles(layout, this.#records, ready, () => this.#opened.digests)
    this.#fileRecords = new DiskFileRecords(layout.catalogue)
    this.transfers = new Transfers(this.#records, this.files, () => this.#opened.clock.wallTime(), this.#fileRecords)
    this.catalogue = new StoredCatalogue(this.files.tree, this.transfers, this.#fileRecords, () => this.#opened.digests)
  }

  async open(platform: Platform): Promise<void> {
    const isDamaged = await makeDirectories(this.layout, platform.crc32)
    this.#lock = await lockData(this.layout, platform.clock.wallTime())
    try {
      this.#platform = platform
      await choosePartial(this.layout)
      await this.files.prepare()
      if (isDamaged) this.#records.damages.push({ file: this.layout.format, offset: 0, bytes: 0, atEnd: false })
      this.#records.damages.push(...(await this.#fileRecords.open()))
      const { uploads, mailboxes } = this.layout
      const uploadBytes = Math.min(this.#segmentBytes, mostUploadSegment)
      const rows = await DiskJournal.open(uploads, uploadBytes, platform, undefined, this.#ballast)
      await this.#records.open(await UploadLog.open(rows, platform, fixed.notes))
      this.#priority = new WritePriority(platform.clock)
      const messages = await DiskJournal.open(mailboxes, this.#segmentBytes, platform, this.#priority, this.#ballast)
      await this.mailboxes.open(messages, platform)
      await this.#ballast.make()
    } catch (error) {
      await this[Symbol.asyncDispose]()
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const held = this.#lock
    if (!held) return
    this.#lock = undefined
    const closed = this.#records.close()
    await this.files.close()
    await closed
    await this.transfers.idle().catch(() => {})
    await this.#fileRecords.close()
    await this.mailboxes.close()
    await held[Symbol.asyncDispose]()
  }

  /** The records and completion markers of uploads. */
  get uploads(): UploadLog {
    return this.#records.log
  }

  get #opened(): Platform {
    if (!this.#platform) throw new OspError('closed', 'the storage is closed; open it first')
    return this.#platform
  }
}

/** The maximum size of a file in the journal of uploads. It is small, since most records are soon replaced. */
const mostUploadSegment = 4 * MiB

/** Creates missing directories and files, durably. Resolves with whether a damaged `format` was rewritten. */
async function makeDirectories(layout: Layout, crc32: Platform['crc32']): Promise<boolean> {
  const { directory, lock, uploads, partial, files, catalogue, mailboxes } = layout
  await makePath(directory)
  await checkRights(layout)
  const isDamaged = await checkFormat(layout, crc32)
  for (const path of [lock, uploads, partial, files, catalogue, mailboxes]) await makeDirectory(path)
  await syncDirectory(directory)
  return isDamaged
}

/** Chooses the directory of partial files: below `files` if that is another mount, which a rename cannot cross. */
async function choosePartial(layout: Layout): Promise<void> {
  const former = layout.partial
  if (await canMove(former, layout.files)) return
  // No user can have this name.
  layout.partial = join(layout.files, ':partial')
  await makeDirectory(layout.partial)
  await syncDirectory(layout.files)
  await checkRights(layout)
  // Partial files from before the mount can no longer be published.
  for (const entry of await attempt(`reading the directory ${former}`, () => readdir(former))) {
    const path = join(former, entry)
    await attempt(`removing ${path}`, () => rm(path, { force: true, recursive: true }))
  }
}
