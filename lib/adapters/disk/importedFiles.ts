import { constants } from 'node:fs'
import { type FileHandle, link, lstat, open, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { OspError } from '../../errors.ts'
import { MiB } from '../../limits.ts'
import type { DigestName, Digests } from '../../ports/platform.ts'
import { hex } from '../../runtime/hex.ts'
import { digestOf } from '../../runtime/incrementalDigest.ts'
import { settleAll } from '../../runtime/settled.ts'
import type { PublishedFile } from './dataDirectory.ts'
import { syncDirectory } from './directories.ts'
import { attempt, errnoOf, unless } from './faults.ts'
import { foldsCase } from './format.ts'
import { type Layout, layoutOf, partialName } from './layout.ts'
import { entryAt, PublishedTree, stampOf, withoutLinks } from './publishedTree.ts'
import { readFull } from './readFull.ts'
import { checkRights, makeOwnFile, safeOpenFlags } from './rights.ts'
import { checkSharedFiles, type DirectoryIds } from './sharedFiles.ts'
import { storedKey } from './storedKey.ts'

/** How a file was imported. `there`: an earlier call has linked or copied it. */
export type Placement = 'linked' | 'copied' | 'there'

/** A file to import, and its digest, if known. */
export interface ImportedFile extends PublishedFile {
  readonly expected?: { readonly algorithm: DigestName; readonly digest: string } | undefined
}

export interface ImportResult {
  readonly placement: Placement
  /** `StoredNames.version` of the file in its place. */
  readonly version: string
  /** Whether it was copied and does not have the expected digest. */
  readonly isDamaged: boolean
}

interface Prepared {
  readonly placement: Placement
  readonly isDamaged: boolean
}

const pieceBytes = MiB

/** The algorithm with which a copy is compared if no digest is expected. */
const plainDigest: DigestName = 'sha256'

/** The shared directory of a cluster, as the target of the files of a data directory. An interrupted import can be repeated. */
export class ImportedFiles {
  readonly #layout: Layout
  readonly #tree: PublishedTree
  readonly #digests: Digests

  private constructor(layout: Layout, digests: Digests) {
    this.#layout = layout
    this.#tree = new PublishedTree(layout.files)
    this.#digests = digests
  }

  /** Rejects with OspError `data-format` unless this is the shared directory with these ids. */
  static async open(path: string, ids: DirectoryIds, digests: Digests): Promise<ImportedFiles> {
    const layout = layoutOf(path)
    await checkSharedFiles(layout.directory, ids)
    await checkRights(layout)
    const files = new ImportedFiles(layout, digests)
    files.#tree.foldsCase = await foldsCase(layout)
    return files
  }

  /** Takes over the key of references to files, unless the cluster has one. */
  async takeKey(key: Uint8Array): Promise<void> {
    await storedKey(this.#layout.key, key)
  }

  /** Resolves with the names of the folders of users. */
  async users(): Promise<readonly string[]> {
    const { files } = this.#layout
    const entries = await attempt(`reading the directory ${files}`, () => readdir(files, { withFileTypes: true }))
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
  }

  /**
   * Links these files into the shared directory, or copies them if it is on another file system: durable. A copy has the
   * modification time of its original, and is read back and compared. Rejects with OspError `file-exists` if a different file is
   * already in place.
   */
  async publish(sources: readonly ImportedFile[]): Promise<readonly ImportResult[]> {
    const prepared = await all(sources, (source) => this.#prepare(source))
    const moves = sources.map((source) => ({ partial: this.#freshOf(source), parts: this.#partsOf(source) }))
    const missing = moves.filter((_, at) => prepared[at]?.placement !== 'there')
    for (const result of await this.#tree.publish(missing, false)) if (result instanceof Error) throw result
    return all(sources, async (source, at) => {
      const { placement, isDamaged } = prepared[at] ?? { placement: 'there', isDamaged: false }
      const present = await this.#present(source)
      if (!present) throw differentFile(this.#tree.pathOf(this.#partsOf(source)), source.path)
      return { placement, isDamaged, version: present }
    })
  }

  /** Copies a partial file as one without a claim (generation 0), durably. Has no effect if it is missing or was copied. */
  async copyPartial(from: string, user: string, name: string): Promise<void> {
    const place = this.#layout.partialOf(user, name)
    if (await entryAt(place)) return
    const stats = await unless(['ENOENT'], `checking ${from}`, () => lstat(from))
    if (!stats) return
    const fresh = this.#freshOf({ user, name })
    const { size, mtimeMs } = stats
    await this.#copy({ path: from, size, mtimeMs }, fresh, plainDigest)
    await attempt(`moving ${fresh} to ${place}`, () => rename(fresh, place))
    await syncDirectory(this.#layout.partial)
  }

  /** Links or copies a file to its temporary path, unless it is in its place. */
  async #prepare(source: ImportedFile): Promise<Prepared> {
    const fresh = this.#freshOf(source)
    await attempt(`removing ${fresh}`, () => rm(fresh, { force: true }))
    if (await this.#present(source)) return { placement: 'there', isDamaged: false }
    if (await linked(source.path, fresh)) return { placement: 'linked', isDamaged: false }
    const { expected } = source
    const digest = await this.#copy(source, fresh, expected?.algorithm ?? plainDigest)
    return { placement: 'copied', isDamaged: expected !== undefined && digest !== expected.digest }
  }

  /** Resolves with the version of the file if it is in its place. Rejects with `file-exists` if a different file is there. */
  async #present(source: ImportedFile): Promise<string | undefined> {
    const parts = this.#partsOf(source)
    const found = await this.#tree.file(parts)
    if (!found) return undefined
    const isSame = Number(found.size) === source.size && Math.abs(Number(found.mtimeMs) - source.mtimeMs) < 2
    if (!isSame) throw differentFile(this.#tree.pathOf(parts), source.path)
    return stampOf(found)
  }

  /** Copies a file durably, with its modification time. Resolves with its digest, after the copy was compared. */
  async #copy(
    { path, size, mtimeMs }: Pick<ImportedFile, 'path' | 'size' | 'mtimeMs'>,
    to: string,
    algorithm: DigestName,
  ): Promise<string> {
    return attempt(`copying ${path} to ${to}`, async () => {
      await using from = await open(path, constants.O_RDONLY | safeOpenFlags)
      await using copy = await makeOwnFile(to, constants.O_RDWR)
      const written = await this.#copyBytes(from, copy, algorithm)
      await copy.utimes(mtimeMs / 1_000, mtimeMs / 1_000)
      await copy.sync()
      const read = await digestOf(this.#digests, algorithm, size, (into, at) => readFull(copy, into, at))
      const digest = read && hex(read)
      if (digest === written && (await copy.stat()).size === size) return written
      throw new OspError('digest-mismatch', `the copy ${to} differs from ${path}; check the disks, and try again`)
    })
  }

  async #copyBytes(from: FileHandle, to: FileHandle, algorithm: DigestName): Promise<string> {
    await this.#digests.load(algorithm)
    const digest = this.#digests.create(algorithm)
    const buffer = new Uint8Array(pieceBytes)
    for (let at = 0; ; ) {
      const length = await readFull(from, buffer, at)
      if (length === 0) return hex(digest.digest())
      const piece = buffer.subarray(0, length)
      digest.update(piece)
      for (let done = 0; done < length; ) done += (await to.write(piece, done, length - done, at + done)).bytesWritten
      at += length
    }
  }

  #partsOf({ user, name }: Pick<PublishedFile, 'user' | 'name'>): readonly string[] {
    return this.#layout.partsOf(user, name)
  }

  /** Returns the temporary path of a file. A repeated import finds what an interrupted one left there. */
  #freshOf({ user, name }: Pick<PublishedFile, 'user' | 'name'>): string {
    return join(this.#layout.partial, `${partialName(user, name)}.new`)
  }
}

/** Runs `work` for all items at the same time. Rejects with the first error, after all of them have ended. */
async function all<T, R>(items: readonly T[], work: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const results = await settleAll(items, work)
  return results.map((result) => {
    if (result instanceof Error) throw result
    return result
  })
}

/** Creates a hard link. Resolves with false if the file systems do not allow it. */
async function linked(from: string, to: string): Promise<boolean> {
  return attempt(`linking ${from} to ${to}`, async () => {
    try {
      await link(from, to)
      return true
    } catch (error) {
      const errno = errnoOf(error) ?? ''
      if (errno !== 'EXDEV' && !withoutLinks.has(errno)) throw error
      return false
    }
  })
}

function differentFile(there: string, source: string): OspError {
  return new OspError('file-exists', `${there} exists and differs from ${source}; remove it, and try again`)
}
