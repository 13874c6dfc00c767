import { constants } from 'node:fs'
import { statfs, unlink } from 'node:fs/promises'
import { OspError } from '../../errors.ts'
import type { Claim, FileStore, PartialFile } from '../../ports/storage.ts'
import type { Book } from '../records/book.ts'
import type { StoredNames } from '../records/storedNames.ts'
import { canMove } from './directories.ts'
import { attempt, errnoOf, unless } from './faults.ts'
import type { Layout } from './layout.ts'
import { openOwnFile } from './ownFile.ts'
import { DiskPartialFile } from './partialFile.ts'
import { publish } from './publish.ts'
import type { Tree } from './tree.ts'

/** Partial and published files in a data directory. */
export class DiskFiles implements FileStore, StoredNames {
  readonly #layout: Layout
  readonly #tree: Tree
  readonly #book: Book
  readonly #turn: () => Promise<void>
  readonly #open = new Set<PartialFile>()

  /** `turn` resolves when bytes of uploads may go to the disk. */
  constructor(layout: Layout, tree: Tree, book: Book, turn: () => Promise<void>) {
    this.#layout = layout
    this.#tree = tree
    this.#book = book
    this.#turn = turn
  }

  get foldsCase(): boolean {
    return this.#tree.foldsCase
  }

  async open(claim: Claim): Promise<PartialFile> {
    this.#book.checkOpen()
    const { user, name } = claim
    const path = this.#layout.partialOf(user, name)
    const guard = <T>(work: () => Promise<T>) => this.#book.fences.guard(claim, work)
    return guard(() =>
      attempt(`opening ${path}`, async () => {
        const record = await this.#book.record(user, name)
        // A verified file that isn't there is in its place already: an empty one must not replace it.
        const verified = record?.verified !== undefined
        // Publishing, which a crash can interrupt, gives it a second name for a moment; then it is not written to any more.
        const opening = openOwnFile(path, flags(!verified), { linked: verified })
        const handle = await opening.catch((error) => {
          if (verified && errnoOf(error) === 'ENOENT') return undefined
          throw error
        })
        const length = handle ? (await handle.stat()).size : 0
        const file = new DiskPartialFile(
          path,
          {
            guard,
            turn: this.#turn,
            flushDirectory: () => this.#tree.flushes.flush(this.#layout.partial),
            publish: (to, replace) => publish(this.#tree, path, this.#layout.partsOf(user, to), replace),
            closed: (closed) => this.#open.delete(closed),
          },
          handle,
          length,
        )
        this.#open.add(file)
        return file
      }),
    )
  }

  async remove(user: string, name: string): Promise<void> {
    this.#book.checkOpen()
    await this.dropPartial(user, name)
  }

  async stored(user: string, name: string): Promise<boolean> {
    this.#book.checkOpen()
    return (await this.#tree.file(this.#layout.partsOf(user, name))) !== undefined
  }

  async used(user: string, name?: string): Promise<number> {
    this.#book.checkOpen()
    if (name === undefined) return this.#tree.bytesBelow(this.#layout.folderOf(user))
    const stats = await this.#tree.file(this.#layout.partsOf(user, name))
    return Number(stats?.size ?? 0)
  }

  async free(): Promise<number> {
    this.#book.checkOpen()
    const { directory } = this.#layout
    const { bavail, bsize } = await attempt(`looking at the disk of ${directory}`, () => statfs(directory))
    return bavail * bsize
  }

  async conflict(user: string, name: string): Promise<string | undefined> {
    const parts = this.#layout.partsOf(user, name)
    const { conflict, above } = await this.#tree.find(parts)
    if (conflict === undefined) await this.#checkMount(this.#tree.pathOf(parts.slice(0, above)))
    return conflict
  }

  /** Rejects where publishing in this directory would fail, after everything was sent. */
  async #checkMount(directory: string): Promise<void> {
    const { partial } = this.#layout
    if (await canMove(partial, directory)) return
    throw new OspError(
      'storage-unusable',
      `${directory} lies on another mount than ${partial}, so that files cannot be moved there; ` +
        `mount that file system at ${this.#layout.files} or at ${this.#layout.directory}`,
      {
        publicText:
          'the folder of this file on the server lies on another file system than unfinished uploads, so that it cannot be ' +
          'stored there; the operator of the server has to change the mount',
      },
    )
  }

  async stamp(user: string, name: string): Promise<string | undefined> {
    const stats = await this.#tree.file(this.#layout.partsOf(user, name))
    return stats && `${stats.size}:${stats.mtimeNs}:${stats.ino}`
  }

  async dropPartial(user: string, name: string): Promise<void> {
    const path = this.#layout.partialOf(user, name)
    await unless(['ENOENT'], `removing ${path}`, () => unlink(path))
  }

  /** Closes every partial file that is still open. */
  async close(): Promise<void> {
    await Promise.all(Array.from(this.#open, (file) => file[Symbol.asyncDispose]()))
  }
}

const flags = (create: boolean) => constants.O_RDWR | (create ? constants.O_CREAT : 0)
