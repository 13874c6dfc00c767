import { randomUUID } from 'node:crypto'
import { type BigIntStats, constants, type Stats } from 'node:fs'
import { lstat, open, readdir, rm, unlink, utimes } from 'node:fs/promises'
import { basename, dirname, join, sep } from 'node:path'
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
  TransferRecord,
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
import { DiskTree } from './diskTree.ts'
import { attempt, errnoOf, fault, unless } from './faults.ts'
import { DiskFences, isFence } from './fences.ts'
import { foldsCase } from './format.ts'
import { Generations, isGenerationDirectory, type SharedClaims } from './generations.ts'
import { type Layout, partialName } from './layout.ts'
import { DiskPartialFile, writeNewFile } from './partialFile.ts'
import { entryAt, type Move, PublishedTree, stampOf } from './publishedTree.ts'
import { quickCalls } from './quickCalls.ts'
import { readFull } from './readFull.ts'
import { fixedDirectory, openOwnFile, safeOpenFlags } from './rights.ts'

const otherMount =
  'the folder of this file on the server is on a different file system from that of unfinished uploads, so the file cannot be ' +
  'stored there; the operator of the server must change the mount'

/** Partial and published files in a data directory. */
export class DiskFiles implements FileStore, StoredNames {
  readonly #layout: Layout
  readonly #tree: PublishedTree
  readonly #records: ClaimGuard
  /** Set if several servers share the directory. */
  readonly #generations: Generations | undefined
  readonly #ready: () => Promise<void>
  readonly #digests: () => Digests
  readonly #open = new Set<PartialFile>()
  /** Prefix of the names of files without an upload, unique to this process. */
  readonly #prefix = `${randomUUID()}-`
  #created = 0
  /** The paths of files that belong to no upload. */
  readonly #unnamed = new Set<string>()
  #checks: readonly (() => void)[] = []

  /**
   * `ready` resolves when bytes of uploads may be written. `digests` belong to the platform of the open storage. `shared` is set if
   * several servers share the directory; then `records` has the claims of this server.
   */
  constructor(
    layout: Layout,
    records: ClaimGuard,
    ready: () => Promise<void>,
    digests: () => Digests,
    shared?: SharedClaims,
  ) {
    this.#layout = layout
    this.#tree = new PublishedTree(layout.files)
    this.#records = records
    this.#generations = shared && new Generations(layout, shared, this.#tree.flushes)
    this.#ready = ready
    this.#digests = digests
  }

  /** Remembers the directories of this storage. From then on no upload is opened or published in others. */
  async prepare(): Promise<void> {
    const { partial, files } = this.#layout
    this.#checks = [partial, files].map(fixedDirectory)
    this.#checkDirectories()
    this.#tree.foldsCase = await foldsCase(this.#layout)
    await this.#generations?.prepare()
  }

  #checkDirectories(): void {
    for (const check of this.#checks) check()
  }

  get foldsCase(): boolean {
    return this.#tree.foldsCase
  }

  /** The published files. */
  get tree(): DiskTree {
    const check = () => {
      this.#records.checkOpen()
      this.#checkDirectories()
    }
    return new DiskTree(this.#layout, this.#tree, check)
  }

  /** The changes of published files that other servers can prevent. */
  get fences(): DiskFences {
    return new DiskFences(this.#layout, this.#tree)
  }

  async open(claim: Claim): Promise<PartialFile> {
    this.#records.checkOpen()
    const { user, name } = claim
    const path = this.#generations?.pathOf(claim) ?? this.#layout.partialOf(user, name)
    const guard = <T>(work: () => Promise<T>) => this.#records.guard(claim, work)
    return guard(() =>
      attempt(`opening ${path}`, async () => {
        this.#checkDirectories()
        const record = this.#records.record(user, name)
        // The missing file of a verified upload is published already. An empty file must not replace it.
        const verified = record?.verified !== undefined
        const isHere = await this.#generations?.takeOver(claim, record, (at, stats) =>
          this.#isVerified(record, at, stats),
        )
        this.#generations?.opened(claim)
        // A crash during publishing leaves a second name. The file is then not written to any more.
        const flags = constants.O_RDWR | (verified ? 0 : constants.O_CREAT)
        const opening = verified && isHere === false ? undefined : openOwnFile(path, flags, { linked: verified })
        const handle = await opening?.catch((error) => {
          if (verified && errnoOf(error) === 'ENOENT') return undefined
          throw error
        })
        const length = handle ? (await handle.stat()).size : 0
        const file = new DiskPartialFile(
          path,
          {
            guard,
            ready: this.#ready,
            flushDirectory: () => this.#tree.flushes.flush(this.#partialDirectory(user, name)),
            publish: (to, replace) => this.#publish(claim, path, to, replace),
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

  /** Publishes the partial file at this path, or confirms that it is published. */
  async #publish({ user, name }: Claim, path: string, storedName: string, replace: boolean): Promise<boolean> {
    this.#checkDirectories()
    const isIntact = async () => {
      const { verified: file, verifiedStamp } = this.#records.record(user, name) ?? {}
      // The content of a storage that wraps this one may have another digest.
      if (verifiedStamp !== undefined && (await this.version(user, storedName)) === verifiedStamp) return true
      return file !== undefined && (await this.isIntact({ ...file, storedName }))
    }
    const move = { partial: path, parts: this.#layout.partsOf(user, storedName), isIntact }
    return single(await this.#tree.publish([move], replace))
  }

  /** Returns whether a partial file has the content of a verified record. */
  async #isVerified(record: TransferRecord | undefined, path: string, stats: BigIntStats): Promise<boolean> {
    const { verified: file, verifiedStamp } = record ?? {}
    if (verifiedStamp !== undefined && stampOf(stats) === verifiedStamp) return true
    if (!file) return false
    // The file of an earlier claim can have the same content. It must not replace the published file, whose version is recorded.
    const isPublished =
      verifiedStamp !== undefined && (await this.version(file.user, file.storedName)) === verifiedStamp
    return !isPublished && (await this.#hasContent(path, stats, file))
  }

  /** Returns the directory of the partial file of an upload. */
  #partialDirectory(user: string, name: string): string {
    return this.#generations?.directoryOf(user, name) ?? this.#layout.partial
  }

  /** Returns the path of the partial file of the claim of this server. */
  #claimedPath(user: string, name: string): string {
    const token = this.#records.record(user, name)?.token
    if (!this.#generations || token === undefined) return this.#layout.partialOf(user, name)
    return this.#generations.pathOf({ user, name, token })
  }

  /** Resolves with the path of the partial file that has the bytes of an upload. */
  async #partialPath(user: string, name: string): Promise<string> {
    const path = this.#layout.partialOf(user, name)
    const [newest] = (await this.#generations?.find(user, name)) ?? []
    return newest?.path ?? path
  }

  async create(user: string, content: readonly Uint8Array[], modifiedAt?: number): Promise<UnnamedFile> {
    const files = await this.createAll(user, [content], modifiedAt === undefined ? [] : [modifiedAt])
    return {
      version: single(files.versions),
      ...(files.sources && { source: files.sources[0] as string }),
      publish: async (storedName, replace) => single(await files.publish([{ index: 0, storedName }], replace)),
      [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
    }
  }

  async createAll(
    user: string,
    contents: readonly (readonly Uint8Array[])[],
    modifiedAt: readonly number[] = [],
  ): Promise<UnnamedFiles> {
    this.#records.checkOpen()
    this.#checkDirectories()
    const { partial } = this.#layout
    const paths = contents.map(() => `${partial}${sep}${this.#prefix}${++this.#created}${unnamed}`)
    for (const path of paths) this.#unnamed.add(path)
    await this.#ready()
    const written = await settleAll(contents, (content, index) =>
      this.#write(paths[index] ?? '', content, modifiedAt[index]),
    )
    return {
      versions: written.map((stats) => (stats instanceof Error ? stats : stampOf(stats))),
      ...(this.#generations && { sources: paths.map((path) => basename(path)) }),
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
  #write(path: string, content: readonly Uint8Array[], modifiedAt: number | undefined): MaybePromise<BigIntStats> {
    const failed = async (error: unknown) => {
      await this.#discard(path)
      throw fault(error, `writing ${path}`)
    }
    try {
      const written = writeNewFile(path, content, timeOf(modifiedAt))
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

  async #notPublished({ partial, parts }: Move, result: Error): Promise<never> {
    const errno = errnoOf(result.cause)
    if (errno === 'EXDEV') await this.#checkMount(this.#tree.pathOf(parts.slice(0, -1)))
    if (this.#generations && errno === 'ENOENT' && !(await entryAt(partial))) {
      throw new OspError('file-busy', 'another server has meanwhile received a file of this name')
    }
    throw result
  }

  /** Removes the content of an unnamed file of any server. A frozen server that is about to publish it then finds nothing. */
  async discard(source: string): Promise<void> {
    if (!isUnnamed.test(source)) throw new Error(`${source} is not the name of a file without an upload`)
    await this.#discard(join(this.#layout.partial, source))
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
    const places = await settleAll(names, (name) => this.#layout.partsOf(user, name))
    await this.#tree.findDirectories(places.flatMap((parts) => (parts instanceof Error ? [] : [parts])))
    return settleAll(places, (parts) => {
      if (parts instanceof Error) throw parts
      return chain(this.#tree.find(parts), ({ found }) => found?.isFile() ?? false)
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
    const path = this.#generations ? await this.#partialPath(user, name) : this.#layout.partialOf(user, name)
    const stats = await entryAt(path)
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
    const path = this.#generations ? this.#claimedPath(user, name) : this.#layout.partialOf(user, name)
    const stats = await entryAt(path)
    return stats && stampOf(stats)
  }

  async setModifiedAt(user: string, name: string, modifiedAt: number): Promise<void> {
    const path = this.#generations ? this.#claimedPath(user, name) : this.#layout.partialOf(user, name)
    const time = timeOf(modifiedAt)
    // The file of a verified upload can already be published.
    if (time) await unless(['ENOENT'], `setting the time of ${path}`, () => utimes(path, time, time))
  }

  async flushName(user: string, name: string): Promise<void> {
    await this.#tree.flushes.flush(this.#tree.pathOf(this.#layout.partsOf(user, name).slice(0, -1)))
  }

  async isIntact(file: StoredFile): Promise<boolean> {
    const parts = this.#layout.partsOf(file.user, file.storedName)
    const stats = await this.#tree.file(parts)
    return stats !== undefined && (await this.#hasContent(this.#tree.pathOf(parts), stats, file))
  }

  /** Returns whether the file at this path has this size and digest. */
  async #hasContent(path: string, stats: BigIntStats, { size, algorithm, digest }: StoredFile): Promise<boolean> {
    if (Number(stats.size) !== size) return false
    const found = await unless(['ENOENT'], `reading ${path}`, async () => {
      await using handle = await open(path, constants.O_RDONLY | safeOpenFlags)
      return await digestOf(this.#digests(), algorithm, size, (into, at) => readFull(handle, into, at))
    })
    return found !== undefined && hex(found) === digest
  }

  async partialBytes({ user, name, size }: NewTransfer): Promise<number> {
    const path = this.#generations ? await this.#partialPath(user, name) : this.#layout.partialOf(user, name)
    const bytes = await unless(['ENOENT'], `reading ${path}`, async () => {
      await using handle = await openOwnFile(path, constants.O_RDWR)
      await handle.datasync()
      return (await handle.stat()).size
    })
    if (bytes === undefined || bytes > size) return 0
    await this.#tree.flushes.flush(dirname(path))
    return bytes
  }

  async sweep(before: number): Promise<readonly Orphan[]> {
    const { partial } = this.#layout
    const entries = await attempt(`reading the directory ${partial}`, () => readdir(partial))
    // Read after the directory: a partial file is created after its record.
    const wanted = await this.#tokens()
    const orphans: Orphan[] = [...((await this.#generations?.sweep(before, () => this.#tokens())) ?? [])]
    for (const entry of entries) {
      const file = join(partial, entry)
      if (this.#unnamed.has(file) || (this.#generations && isGenerationDirectory(entry))) continue
      const stats = await unless(['ENOENT'], `checking ${file}`, () => lstat(file))
      if (!stats || (wanted.has(entry) && stats.isFile())) continue
      const removed = this.#isUseless(entry, stats) || stats.mtimeMs < before
      if (removed) await attempt(`removing ${file}`, () => rm(file, { force: true, recursive: true }))
      // A crash has left it. The server has not acknowledged it.
      if (!isTemporary(entry)) orphans.push({ file, bytes: stats.size, removed })
    }
    return orphans
  }

  /** Returns whether an entry without a record is of no use for any claim. */
  #isUseless(entry: string, stats: Stats): boolean {
    // Another server may be about to publish its file, or to change a published one.
    if (this.#generations && isTemporary(entry)) return false
    // A file with another name is a published one, and keeps that name.
    return !stats.isFile() || !isPartialName.test(entry) || stats.size === 0 || stats.nlink > 1
  }

  async dropPartial(user: string, name: string): Promise<void> {
    if (this.#generations) {
      await this.#generations.remove(user, name, this.#records.record(user, name)?.token)
      return
    }
    const path = this.#layout.partialOf(user, name)
    await unless(['ENOENT'], `removing ${path}`, () => unlink(path))
  }

  /** Resolves with the token of each present record by its `partialName`. */
  async #tokens(): Promise<ReadonlyMap<string, number>> {
    const tokens = new Map<string, number>()
    for await (const { user, name, token } of this.#records.all()) tokens.set(partialName(user, name), token)
    return tokens
  }

  async close(): Promise<void> {
    await Promise.all(Array.from(this.#open, (file) => file[Symbol.asyncDispose]()))
  }
}

/** Returns the time of a file in seconds, or `undefined` if it is not known or no file system can store it. */
function timeOf(modifiedAt: number | undefined): number | undefined {
  return modifiedAt !== undefined && modifiedAt > 0 && modifiedAt <= latestMs ? modifiedAt / 1_000 : undefined
}

/** The end of the year 2105, which file systems with unsigned 32-bit times can store. */
const latestMs = 0xffff_ffff * 1_000

/** The end of the name of a file that belongs to no upload. */
const unnamed = '.new'

/** Returns whether an entry of the directory of partial files belongs to no upload. */
const isTemporary = (entry: string): boolean => entry.endsWith(unnamed) || isFence(entry)

const isUnnamed = /^[\da-f-]{36}-\d+\.new$/u

const isPartialName = /^[\da-f]{32}\.part$/
