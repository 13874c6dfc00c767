import { type BigIntStats, constants } from 'node:fs'
import { copyFile, mkdir, readdir, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { BoundedMap } from '../../core/boundedMap.ts'
import { OspError } from '../../errors.ts'
import type { Claim, Orphan, TransferRecord } from '../../ports/storage.ts'
import type { DirectoryFlushes } from './directories.ts'
import { attempt, errnoOf, unless } from './faults.ts'
import { type Layout, partialName } from './layout.ts'
import { entryAt } from './publishedTree.ts'
import { openOwnFile } from './rights.ts'

/*
 * The partial files of a directory that several servers share. No server can keep a paused process of another one from writing to
 * a file that it has open, or from renaming and removing a file by its path. Therefore the path contains the token of the claim
 * that wrote the file. A later claim moves the file to its own path first, so that the former owner no longer finds it there. If
 * the former owner may still have the file open, the later claim copies it into a new file instead. Tokens rise, and the record of
 * a claim is stored before its file is created: of the files of an upload, the one with the highest token has the bytes.
 */

/** The claims of all servers that share a directory. */
export interface SharedClaims {
  /** Resolves with the token of the present record of an upload in the shared store, or `undefined` if there is no record. */
  presentToken(user: string, name: string): Promise<number | undefined>
  /**
   * Returns whether another process may still have the partial file of this former claim open for writing. It may not if its
   * server has closed the file and then released the upload. Without this method, it may be open. Not called for a claim whose
   * file this process had open.
   */
  mayBeOpen?(former: Claim): boolean | Promise<boolean>
}

/** A partial file of an upload. */
interface Generation {
  /** The token of the claim that wrote it; 0 if a single server has written it, whose paths have no tokens. */
  readonly token: number
  readonly path: string
}

/** An entry of a directory of partial files. */
interface Entry extends Generation {
  /** The name of the partial files of its upload, as `partialName` returns it. */
  readonly upload: string
  /** Whether it is a copy that is not complete. */
  readonly isCopy: boolean
}

/** The number of tokens of this process that are remembered. The file of a forgotten one is copied. */
const maxOwnTokens = 10_000

/** The maximum number of attempts to take over a file that other servers move meanwhile. */
const tries = 16

const subdirectories = Array.from({ length: 256 }, (_, number) => number.toString(16).padStart(2, '0'))

/** A partial file with a token, and a copy that is not complete. */
const entryPattern = /^([\da-f]{32})\.(\d{1,16})(\.new)?$/u

/** The partial files of uploads, each with the token of its claim: `partial/HH/HASH.TOKEN`. */
export class Generations {
  readonly #layout: Layout
  readonly #claims: SharedClaims
  readonly #flushes: DirectoryFlushes
  /** The tokens of claims whose files this process has opened. It does not write under a claim after a later one was granted. */
  readonly #own = new BoundedMap<number, true>(maxOwnTokens)

  constructor(layout: Layout, claims: SharedClaims, flushes: DirectoryFlushes) {
    this.#layout = layout
    this.#claims = claims
    this.#flushes = flushes
  }

  /** Creates the directories of partial files, durably. */
  async prepare(): Promise<void> {
    const { partial } = this.#layout
    const there = new Set(await attempt(`reading the directory ${partial}`, () => readdir(partial)))
    const missing = subdirectories.filter((name) => !there.has(name)).map((name) => join(partial, name))
    if (missing.length === 0) return
    // Another server may create them at the same time.
    await Promise.all(
      missing.map((path) => unless(['EEXIST'], `creating the directory ${path}`, () => mkdir(path, { mode: 0o700 }))),
    )
    await this.#flushes.flush(partial)
  }

  /** Records that this process opens the partial file of a claim. */
  opened({ token }: Claim): void {
    this.#own.set(token, true)
  }

  /** Returns the path of the partial file of a claim. */
  pathOf({ user, name, token }: Claim): string {
    return join(this.directoryOf(user, name), `${hashOf(partialName(user, name))}.${token}`)
  }

  /** Returns the directory of the partial files of an upload. */
  directoryOf(user: string, name: string): string {
    return join(this.#layout.partial, partialName(user, name).slice(0, 2))
  }

  /** Resolves with the partial files of an upload, the one with the highest token first. */
  async find(user: string, name: string): Promise<readonly Generation[]> {
    const upload = partialName(user, name)
    const entries = await this.#entriesIn(this.directoryOf(user, name))
    const found = entries.filter((entry) => entry.upload === upload && !entry.isCopy)
    const path = this.#layout.partialOf(user, name)
    const alone = (await entryAt(path)) ? [{ token: 0, path }] : []
    return [...found, ...alone].sort((a, b) => b.token - a.token)
  }

  /**
   * Moves or copies the bytes of an upload to the path of this claim, which no former owner uses. Resolves with false if there
   * are none. For a verified upload, only a file for which `isVerified` resolves with true is used. Rejects with `superseded` if
   * a later claim has taken the bytes over.
   */
  async takeOver(
    claim: Claim,
    record: TransferRecord | undefined,
    isVerified: (path: string, stats: BigIntStats) => Promise<boolean>,
  ): Promise<boolean> {
    for (let left = tries; left > 0; left--) {
      const found = await this.find(claim.user, claim.name)
      if (found.some(({ token }) => token > claim.token)) {
        throw new OspError('superseded', `the upload ${claim.name} of ${claim.user} has been taken over`)
      }
      const former = record?.verified ? await this.#verifiedOf(found, isVerified) : found[0]
      if (!former) return false
      if (former === 'moved') continue
      if (former.token === claim.token || (await this.#bring(former, claim, record))) return true
    }
    throw new OspError(
      'internal',
      `the partial file of ${claim.name} of ${claim.user} was moved by other servers ${tries} times during a takeover`,
    )
  }

  /** Moves or copies a file to the path of a claim. Resolves with false if it is no longer there. */
  async #bring(former: Generation, claim: Claim, record: TransferRecord | undefined): Promise<boolean> {
    // The owner of a verified upload had stopped writing before it was verified.
    const isFinal = record?.verified !== undefined || former.token === 0 || this.#own.has(former.token)
    const mayBeOpen = !isFinal && ((await this.#claims.mayBeOpen?.({ ...claim, token: former.token })) ?? true)
    return mayBeOpen ? this.#copy(former, claim, record?.checkpoints.at(-1)?.offset ?? 0) : this.#move(former, claim)
  }

  /**
   * Removes the partial files of an upload: those up to the token `own` of a claim of this process or, without it, those that are
   * older than the present record. A process that was paused before it removes a file thus never removes that of a later claim.
   */
  async remove(user: string, name: string, own: number | undefined): Promise<void> {
    const found = await this.find(user, name)
    if (found.length === 0) return
    // Read after the directory, since the record of a claim is stored before its file is created.
    const present = own === undefined ? await this.#claims.presentToken(user, name) : own + 1
    for (const { token, path } of found) if (present === undefined || token < present) await removeFile(path)
  }

  /**
   * Removes the files without a record that are empty, published or were last written before `before`, and the files that later
   * ones have replaced. `presentTokens` resolves with the token of each present record, by `partialName`.
   */
  async sweep(before: number, presentTokens: () => Promise<ReadonlyMap<string, number>>): Promise<readonly Orphan[]> {
    const found: Entry[] = []
    for (const name of subdirectories) found.push(...(await this.#entriesIn(join(this.#layout.partial, name))))
    // Read after the directories, since the record of a claim is stored before its file is created.
    const present = await presentTokens()
    const newest = new Map<string, number>()
    for (const { upload, token, isCopy } of found) {
      if (!isCopy) newest.set(upload, Math.max(token, newest.get(upload) ?? 0))
    }
    const orphans: Orphan[] = []
    for (const entry of found) {
      const record = present.get(entry.upload)
      // The token of the record can belong to a claim that has not taken over the file yet.
      const isWanted =
        record !== undefined && (entry.isCopy ? entry.token >= record : entry.token === newest.get(entry.upload))
      const orphan = isWanted && !entry.isCopy ? undefined : await this.#swept(entry, before, isWanted)
      if (orphan && record === undefined && !entry.isCopy) orphans.push(orphan)
    }
    return orphans
  }

  /** Removes an entry if it is useless or old. One that a claim still needs is never useless. */
  async #swept({ path, isCopy }: Entry, before: number, isWanted: boolean): Promise<Orphan | undefined> {
    const stats = await entryAt(path)
    if (!stats) return undefined
    const isUseless = !isWanted && (isCopy || !stats.isFile() || stats.size === 0n || stats.nlink > 1n)
    const removed = isUseless || Number(stats.mtimeMs) < before
    if (removed) await removeFile(path)
    return { file: path, bytes: Number(stats.size), removed }
  }

  /** Resolves with `moved` if a file is no longer there before the verified one is found. */
  async #verifiedOf(
    found: readonly Generation[],
    isVerified: (path: string, stats: BigIntStats) => Promise<boolean>,
  ): Promise<Generation | 'moved' | undefined> {
    for (const generation of found) {
      const stats = await entryAt(generation.path)
      // A later one can have the same content, but another version.
      if (!stats) return 'moved'
      if (await isVerified(generation.path, stats)) return generation
    }
    const present = await Promise.all(found.map(({ path }) => entryAt(path)))
    return present.includes(undefined) ? 'moved' : undefined
  }

  /** Moves a file to the path of a claim. Resolves with false if it is no longer there. */
  async #move(former: Generation, claim: Claim): Promise<boolean> {
    const path = this.pathOf(claim)
    const moved = await unless(['ENOENT'], `moving ${former.path} to ${path}`, () =>
      rename(former.path, path).then(() => true),
    )
    return moved ?? false
  }

  /**
   * Copies the bytes before the last checkpoint into a new file, durably, and removes the former one. The former owner can only
   * write after that checkpoint. Resolves with false if the former file is no longer there.
   */
  async #copy(former: Generation, claim: Claim, bytes: number): Promise<boolean> {
    const path = this.pathOf(claim)
    const fresh = `${path}.new`
    await removeFile(fresh)
    if (bytes === 0) {
      await removeFile(former.path)
      return true
    }
    try {
      const isCopied = await attempt(`copying ${former.path} to ${path}`, async () => {
        if (!(await copied(former.path, fresh))) return false
        await using handle = await openOwnFile(fresh, constants.O_RDWR)
        if ((await handle.stat()).size > bytes) await handle.truncate(bytes)
        await handle.sync()
        await rename(fresh, path)
        return true
      })
      if (!isCopied) return false
    } finally {
      await removeFile(fresh)
    }
    await this.#flushes.flush(this.directoryOf(claim.user, claim.name))
    await removeFile(former.path)
    return true
  }

  async #entriesIn(directory: string): Promise<readonly Entry[]> {
    const names = await unless(['ENOENT'], `reading the directory ${directory}`, () => readdir(directory))
    return (names ?? []).flatMap((name) => {
      const [, hash = '', token, copy] = entryPattern.exec(name) ?? []
      if (token === undefined) return []
      return [{ upload: uploadOf(hash), token: Number(token), path: join(directory, name), isCopy: copy !== undefined }]
    })
  }
}

const hashOf = (upload: string) => upload.slice(0, 32)

const uploadOf = (hash: string) => `${hash}.part`

/** Copies a file, sharing its blocks if the file system can. Resolves with false if there is no such file. */
async function copied(from: string, to: string): Promise<boolean> {
  try {
    await copyFile(from, to, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL)
    return true
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
    return false
  }
}

async function removeFile(path: string): Promise<void> {
  await unless(['ENOENT'], `removing ${path}`, () => unlink(path))
}

/** Returns whether an entry of the directory of partial files is a directory of `Generations`. */
export const isGenerationDirectory = (entry: string): boolean => /^[\da-f]{2}$/u.test(entry)
