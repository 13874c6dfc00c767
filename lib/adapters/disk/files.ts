import { randomUUID } from 'node:crypto'
import { type BigIntStats, constants } from 'node:fs'
import { lstat, open, readdir, rm, unlink } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { OspError } from '../../errors.ts'
import { checkUserName } from '../../names.ts'
import type { Digests } from '../../ports/platform.ts'
import type {
  Claim,
  FileStore,
  NewTransfer,
  Orphan,
  PartialFile,
  Space,
  StoredFile,
  UnnamedFile,
  UnnamedFiles,
  Usage,
} from '../../ports/storage.ts'
import { hex } from '../../runtime/hex.ts'
import { digestOf } from '../../runtime/incrementalDigest.ts'
import { chain, type MaybePromise, settleAll, single } from '../../runtime/settled.ts'
import type { ClaimGuard } from '../../storage/transfers/recordStore.ts'
import type { StoredNames } from '../../storage/transfers/storedNames.ts'
import { canMove } from './directories.ts'
import { attempt, errnoOf, fault, unless } from './faults.ts'
import { foldsCase } from './format.ts'
import { type Layout, partialName } from './layout.ts'
import { DiskPartialFile, writeNewFile } from './partialFile.ts'
import { entryAt, type Move, PublishedTree } from './publishedTree.ts'
import { quickCalls } from './quickCalls.ts'
import { readFull } from './readFull.ts'
import { fixedDirectory, openOwnFile, safeOpenFlags } from './rights.ts'

const otherMount =
  'the folder of this file on the server is on a different file system from that of unfinished uploads, so the file cannot be ' +
  'stored there; the operator of the server must change the mount'

/** Identifies a file and its content. Includes the inode, since files written shortly after each other can have the same time. */
const stampOf = ({ size, mtimeNs, ino }: BigIntStats) => `${size}:${mtimeNs}:${ino}`

/** Partial and published files in a data directory. */
export class DiskFiles implements FileStore, StoredNames {
  readonly #layout: Layout
  readonly #tree: PublishedTree
  readonly #records: ClaimGuard
  readonly #ready: () => Promise<void>
  readonly #digests: () => Digests
  readonly #open = new Set<PartialFile>()
  /** Prefix of the names of files without an upload, unique to this process. */
  readonly #prefix = `${randomUUID()}-`
  #created = 0
  /** The paths of files that belong to no upload. */
  readonly #unnamed = new Set<string>()
  #checks: readonly (() => void)[] = []

  /** `ready` resolves when bytes of uploads may be written. `digests` belong to the platform of the open storage. */
  constructor(layout: Layout, records: ClaimGuard, ready: () => Promise<void>, digests: () => Digests) {
    this.#layout = layout
    this.#tree = new PublishedTree(layout.files)
    this.#records = records
    this.#ready = ready
    this.#digests = digests
  }

  /** Remembers the directories of this storage. From then on no upload is opened or published in others. */
  async prepare(): Promise<void> {
    const { partial, files } = this.#layout
    this.#checks = [partial, files].map(fixedDirectory)
    this.#checkDirectories()
    this.#tree.foldsCase = await foldsCase(this.#layout)
  }

  #checkDirectories(): void {
    for (const check of this.#checks) check()
  }

  get foldsCase(): boolean {
    return this.#tree.foldsCase
  }

  async open(claim: Claim): Promise<PartialFile> {
    this.#records.checkOpen()
    const { user, name } = claim
    const path = this.#layout.partialOf(user, name)
    const guard = <T>(work: () => Promise<T>) => this.#records.guard(claim, work)
    return guard(() =>
      attempt(`opening ${path}`, async () => {
        this.#checkDirectories()
        const record = this.#records.record(user, name)
        // The missing file of a verified upload is published already. An empty file must not replace it.
        const verified = record?.verified !== undefined
        // A crash during publishing leaves a second name. The file is then not written to any more.
        const flags = constants.O_RDWR | (verified ? 0 : constants.O_CREAT)
        const opening = openOwnFile(path, flags, { linked: verified })
        const handle = await opening.catch((error) => {
          if (verified && errnoOf(error) === 'ENOENT') return undefined
          throw error
        })
        const length = handle ? (await handle.stat()).size : 0
        const file = new DiskPartialFile(
          path,
          {
            guard,
            ready: this.#ready,
            flushDirectory: () => this.#tree.flushes.flush(this.#layout.partial),
            publish: async (to, replace) => {
              this.#checkDirectories()
              const isIntact = async () => {
                const { verified: file, verifiedStamp } = this.#records.record(user, name) ?? {}
                // The content of a storage that wraps this one may have another digest.
                if (verifiedStamp !== undefined && (await this.version(user, to)) === verifiedStamp) return true
                return file !== undefined && (await this.isIntact({ ...file, storedName: to }))
              }
              const move = { partial: path, parts: this.#layout.partsOf(user, to), isIntact }
              return single(await this.#tree.publish([move], replace))
            },
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

  async create(user: string, content: readonly Uint8Array[]): Promise<UnnamedFile> {
    const files = await this.createAll(user, [content])
    return {
      version: single(files.versions),
      publish: async (storedName, replace) => single(await files.publish([{ index: 0, storedName }], replace)),
      [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
    }
  }

  async createAll(user: string, contents: readonly (readonly Uint8Array[])[]): Promise<UnnamedFiles> {
    this.#records.checkOpen()
    this.#checkDirectories()
    const { partial } = this.#layout
    const paths = contents.map(() => [partial, `${this.#prefix}${++this.#created}${unnamed}`].join(sep))
    for (const path of paths) this.#unnamed.add(path)
    await this.#ready()
    const written = await settleAll(contents, (content, index) => this.#write(paths[index] ?? '', content))
    return {
      versions: written.map((stats) => (stats instanceof Error ? stats : stampOf(stats))),
      publish: async (places, replace) => {
        this.#records.checkOpen()
        this.#checkDirectories()
        const moves = places.map(({ index, storedName }) => {
          const stats = written[index]
          if (!stats || stats instanceof Error) throw stats ?? new Error(`file ${index} does not exist`)
          return { partial: paths[index] ?? '', parts: this.#layout.partsOf(user, storedName), written: stats }
        })
        const results = await this.#tree.publish(moves, replace)
        return settleAll(moves, (move, index) => this.#unnamedResult(move, results[index] ?? false))
      },
      [Symbol.asyncDispose]: async () => {
        for (const path of paths) if (this.#unnamed.has(path)) await this.#discard(path)
      },
    }
  }

  /** Writes a file that belongs to no upload, and removes it if that fails. */
  #write(path: string, content: readonly Uint8Array[]): MaybePromise<BigIntStats> {
    const failed = async (error: unknown) => {
      await this.#discard(path)
      throw fault(error, `writing ${path}`)
    }
    try {
      const written = writeNewFile(path, content)
      return written instanceof Promise ? written.catch(failed) : written
    } catch (error) {
      return failed(error)
    }
  }

  async #discard(path: string): Promise<void> {
    this.#unnamed.delete(path)
    await unless(['ENOENT'], `removing ${path}`, async () => quickCalls.unlink(path))
  }

  /** Handles the result of publishing a file that belongs to no upload. */
  #unnamedResult(move: Move, result: boolean | Error): MaybePromise<boolean> {
    if (result === true) this.#unnamed.delete(move.partial)
    return result instanceof Error ? this.#notPublished(move, result) : result
  }

  async #notPublished({ parts }: Move, result: Error): Promise<never> {
    if (errnoOf(result.cause) === 'EXDEV') await this.#checkMount(this.#tree.pathOf(parts.slice(0, -1)))
    throw result
  }

  async remove(user: string, name: string): Promise<void> {
    this.#records.checkOpen()
    await this.dropPartial(user, name)
  }

  async stored(user: string, name: string): Promise<boolean> {
    return single(await this.storedAll(user, [name]))
  }

  async storedAll(user: string, names: readonly string[]): Promise<readonly (boolean | Error)[]> {
    this.#records.checkOpen()
    return settleAll(names, (name) => {
      const place = this.#tree.find(this.#layout.partsOf(user, name))
      return chain(place, ({ found }) => found?.isFile() ?? false)
    })
  }

  async used(user: string, name?: string): Promise<number> {
    this.#records.checkOpen()
    if (name === undefined) return (await this.usage(user)).bytes
    const stats = await this.#tree.file(this.#layout.partsOf(user, name))
    return Number(stats?.size ?? 0)
  }

  async usage(user: string, recount = false): Promise<Usage> {
    this.#records.checkOpen()
    return this.#tree.usages.of(checkUserName(user), recount)
  }

  async space(): Promise<Space> {
    this.#records.checkOpen()
    const { partial } = this.#layout
    const { bavail, bfree, blocks, bsize } = await attempt(`checking the disk of ${partial}`, async () =>
      quickCalls.statfs(partial),
    )
    // Some systems reserve free blocks for root.
    return { free: bavail * bsize, total: (blocks - (bfree - bavail)) * bsize, blockBytes: bsize }
  }

  async heldBytes(user: string, name: string): Promise<number> {
    this.#records.checkOpen()
    const stats = await entryAt(this.#layout.partialOf(user, name))
    // Windows does not report blocks.
    return Number(stats?.blocks ? stats.blocks * 512n : (stats?.size ?? 0))
  }

  async conflict(user: string, name: string): Promise<string | undefined> {
    const parts = this.#layout.partsOf(user, name)
    const { conflict, above } = await this.#tree.find(parts)
    if (conflict === undefined) await this.#checkMount(this.#tree.pathOf(parts.slice(0, above)))
    return conflict
  }

  /** Rejects if publishing in this directory would fail after the whole upload. */
  async #checkMount(directory: string): Promise<void> {
    const { partial } = this.#layout
    if (await canMove(partial, directory)) return
    const reason = `${directory} is on a different mount from ${partial}, so files cannot be moved there`
    const advice = `mount that file system at ${this.#layout.files} or at ${this.#layout.directory}`
    throw new OspError('storage-unusable', `${reason}; ${advice}`, { publicText: otherMount })
  }

  async version(user: string, name: string): Promise<string | undefined> {
    const stats = await this.#tree.file(this.#layout.partsOf(user, name))
    return stats && stampOf(stats)
  }

  async partialVersion(user: string, name: string): Promise<string | undefined> {
    const stats = await entryAt(this.#layout.partialOf(user, name))
    return stats && stampOf(stats)
  }

  async flushName(user: string, name: string): Promise<void> {
    await this.#tree.flushes.flush(this.#tree.pathOf(this.#layout.partsOf(user, name).slice(0, -1)))
  }

  async isIntact({ user, storedName, size, algorithm, digest }: StoredFile): Promise<boolean> {
    const parts = this.#layout.partsOf(user, storedName)
    const stats = await this.#tree.file(parts)
    if (Number(stats?.size ?? -1) !== size) return false
    const path = this.#tree.pathOf(parts)
    const found = await unless(['ENOENT'], `reading ${path}`, async () => {
      await using handle = await open(path, constants.O_RDONLY | safeOpenFlags)
      return await digestOf(this.#digests(), algorithm, size, (into, at) => readFull(handle, into, at))
    })
    return found !== undefined && hex(found) === digest
  }

  async partialBytes({ user, name, size }: NewTransfer): Promise<number> {
    const path = this.#layout.partialOf(user, name)
    const bytes = await unless(['ENOENT'], `reading ${path}`, async () => {
      await using handle = await openOwnFile(path, constants.O_RDWR)
      await handle.datasync()
      return (await handle.stat()).size
    })
    if (bytes === undefined || bytes > size) return 0
    await this.#tree.flushes.flush(this.#layout.partial)
    return bytes
  }

  async sweep(before: number): Promise<readonly Orphan[]> {
    const { partial } = this.#layout
    const entries = await attempt(`reading the directory ${partial}`, () => readdir(partial))
    // Read after the directory: a partial file is created after its record.
    const wanted = new Set<string>()
    for await (const { user, name } of this.#records.all()) wanted.add(partialName(user, name))
    const orphans: Orphan[] = []
    for (const entry of entries) {
      const file = join(partial, entry)
      if (this.#unnamed.has(file)) continue
      const stats = await unless(['ENOENT'], `checking ${file}`, () => lstat(file))
      if (!stats || (wanted.has(entry) && stats.isFile())) continue
      // A file with another name is a published one, and keeps that name. A claim continues none of these.
      const useless = !stats.isFile() || !isPartialName.test(entry) || stats.size === 0 || stats.nlink > 1
      const removed = useless || stats.mtimeMs < before
      if (removed) await attempt(`removing ${file}`, () => rm(file, { force: true, recursive: true }))
      // A crash has left it. The server has not acknowledged it.
      if (!entry.endsWith(unnamed)) orphans.push({ file, bytes: stats.size, removed })
    }
    return orphans
  }

  async dropPartial(user: string, name: string): Promise<void> {
    const path = this.#layout.partialOf(user, name)
    await unless(['ENOENT'], `removing ${path}`, () => unlink(path))
  }

  async close(): Promise<void> {
    await Promise.all(Array.from(this.#open, (file) => file[Symbol.asyncDispose]()))
  }
}

/** The end of the name of a file that belongs to no upload. */
const unnamed = '.new'

const isPartialName = /^[\da-f]{32}\.part$/
