import type { ClusterClaims } from '../../../lib/adapters/cluster/clusterClaims.ts'
import type { ClusterFiles } from '../../../lib/adapters/cluster/clusterStorage.ts'
import type { FencedFiles } from '../../../lib/adapters/cluster/clusterTree.ts'
import type { Fences } from '../../../lib/adapters/cluster/fences.ts'
import { OspError } from '../../../lib/errors.ts'
import type {
  Claim,
  NewTransfer,
  Orphan,
  PartialFile,
  Space,
  StoredFile,
  TransferRecord,
  UnnamedFile,
  Usage,
} from '../../../lib/ports/storage.ts'
import { hex } from '../../../lib/runtime/hex.ts'
import { digestOf } from '../../../lib/runtime/incrementalDigest.ts'
import {
  type ChangedFile,
  compareNames,
  FirstEntries,
  type TreeEntry,
} from '../../../lib/storage/catalogue/storedTree.ts'
import { ancestorsOf, recordKey } from '../../../lib/storage/transfers/recordStore.ts'
import { lostFile } from '../../../lib/storage/transfers/storedNames.ts'
import { joined } from '../partialImage.ts'
import type { SimulatedProcess } from '../process.ts'
import { copySuffix, type SharedTree, type TreeFile, type TreeGeneration } from './sharedTree.ts'
import { TreePartialFile } from './treePartialFile.ts'
import type { PublishReason, TreeWatch } from './treeWatch.ts'

/** How often a take-over looks again for a file that another server has moved meanwhile. */
const tries = 16

/** The shared tree of files as one run of a server uses it, with the rules of `lib/adapters/disk/generations.ts`. */
export class TreeFiles implements ClusterFiles {
  readonly foldsCase = false
  readonly #tree: SharedTree
  readonly #process: SimulatedProcess
  readonly #claims: ClusterClaims
  readonly #watch: TreeWatch
  /** The tokens of claims whose files this process has opened. */
  readonly #own = new Set<number>()
  readonly #open = new Set<TreePartialFile>()
  #created = 0

  constructor(tree: SharedTree, process: SimulatedProcess, claims: ClusterClaims, watch: TreeWatch) {
    this.#tree = tree
    this.#process = process
    this.#claims = claims
    this.#watch = watch
  }

  async prepare(): Promise<void> {}

  /** The published files. */
  get tree(): FencedFiles['tree'] {
    const take = <T>(reason: string, effect: () => T) => {
      this.#claims.checkOpen()
      return this.#take(reason, effect)
    }
    const entryOf = (name: string, { bytes, version, storedAt }: TreeFile): TreeEntry => {
      return { name, size: bytes.length, version, modifiedAt: 0, storedAt }
    }
    return {
      list: (user, { prefix, after, most }) =>
        take('time of a look', () => {
          const first = new FirstEntries<TreeEntry>(most)
          for (const [name, file] of this.#tree.published.get(user) ?? []) {
            if (name.startsWith(prefix) && compareNames(name, after) > 0) first.add(entryOf(name, file))
          }
          return { files: first.sorted(), more: first.isCut, looked: this.#tree.published.get(user)?.size ?? 0 }
        }),
      find: (user, name) =>
        take('time of a look', () => {
          const file = this.#tree.read(user, name)
          return file && entryOf(name, file)
        }),
      key: async () => new Uint8Array(32),
      open: async (user, name) => {
        const file = await take('time to open', () => this.#tree.read(user, name))
        if (!file) return undefined
        const { bytes, version } = file
        const read = async (into: Uint8Array, offset: number) =>
          this.#take('time of a read', () => {
            const piece = bytes.subarray(offset, offset + into.length)
            into.set(piece)
            return piece.length
          })
        this.#process.handles++
        const close = async () => {
          this.#process.handles--
        }
        return { size: bytes.length, version, read, [Symbol.asyncDispose]: close }
      },
    }
  }

  /** The changes of published files that other servers can prevent. */
  get fences(): Fences {
    const { fences } = this.#tree
    const isThere = ({ user, name, version }: ChangedFile, fence: string) =>
      fences.has(fence) && this.#tree.read(user, name)?.version === version
    return {
      add: async (fence) => {
        await this.#take('time to create a fence', () => fences.add(fence))
      },
      list: () => this.#take('time of a look', () => [...fences]),
      remove: async (fence) => {
        await this.#take('time to remove a fence', () => fences.delete(fence))
      },
      unlink: async (file, fence) => {
        if (!(await this.#take('time to look at a file that is removed', () => isThere(file, fence)))) return false
        return this.#take('time of a removal', () => {
          const present = this.#tree.read(file.user, file.name)
          if (!fences.has(fence) || !present) return false
          this.#watch.removing(file, present)
          return this.#tree.unlink(file.user, file.name)
        })
      },
      link: async (file, newName, replace, fence) => {
        const { user, name } = file
        const linked = await this.#take('time of a link', () =>
          isThere(file, fence) ? this.#tree.read(user, name) : undefined,
        )
        if (!linked) return false
        return this.#take('time of a rename', () => {
          if (!fences.has(fence)) return false
          const there = this.#tree.read(user, newName)
          if (there && there !== linked && !replace) throw new OspError('file-exists')
          this.#tree.put(user, newName, linked, true)
          return true
        })
      },
    }
  }

  async open(claim: Claim): Promise<PartialFile> {
    this.#claims.checkOpen()
    return this.#claims.guard(claim, async () => {
      const record = this.#claims.record(claim.user, claim.name)
      const path = this.#tree.pathOf(claim.user, claim.name, claim.token)
      await this.#takeOver(claim, record)
      this.#own.add(claim.token)
      const content = await this.#take('time to open', () => {
        const found = this.#tree.partial.get(path)
        if (found || record?.verified) return found
        const created = this.#tree.create()
        this.#tree.partial.set(path, created)
        return created
      })
      const file = new TreePartialFile(content, {
        guard: (work) => this.#claims.guard(claim, work),
        take: (reason, effect, partly) => this.#take(reason, effect, partly),
        fraction: (reason) => this.#process.platform.random.fraction(reason),
        truncate: (into, length) => {
          this.#watch.changes(into, path)
          into.truncate(length)
        },
        write: (into, offset, bytes) => {
          this.#watch.changes(into, path)
          this.#watch.wrote(into, this.#claims.record(claim.user, claim.name), offset, bytes)
          into.write(offset, bytes, this.#process)
        },
        publish: (storedName, replace) => this.#publish(claim, path, storedName, replace),
        closed: (closed) => {
          if (this.#open.delete(closed)) this.#process.handles--
        },
      })
      this.#open.add(file)
      this.#process.handles++
      return file
    })
  }

  async create(user: string, content: readonly Uint8Array[]): Promise<UnnamedFile> {
    this.#claims.checkOpen()
    const path = `${this.#process.name}.${++this.#created}.new`
    const bytes = joined(content)
    const file = this.#tree.create()
    const write = (length: number) => {
      file.write(0, bytes.slice(0, length), this.#process)
      this.#tree.partial.set(path, file)
    }
    const fraction = () => this.#process.platform.random.fraction('bytes of a write that a kill has torn')
    await this.#take(
      'time of a write',
      () => write(bytes.length),
      () => write(fraction() * bytes.length),
    )
    await this.#take('time of a flush', () => file.flush())
    const { version } = file
    return {
      version,
      source: path,
      publish: (storedName, replace) => {
        this.#claims.checkOpen()
        return this.#take('time to publish', () => {
          if (this.#tree.partial.get(path) !== file) throw new OspError('file-busy', 'the file is published or removed')
          if (this.#tree.read(user, storedName) && !replace) return false
          this.#put(user, storedName, path, file, { version })
          return true
        })
      },
      [Symbol.asyncDispose]: async () => {
        await this.#take('time of a removal', () => this.#tree.partial.delete(path))
      },
    }
  }

  discard(source: string): Promise<void> {
    return this.#unlink(source)
  }

  async remove(user: string, name: string): Promise<void> {
    this.#claims.checkOpen()
    await this.dropPartial(user, name)
  }

  stored(user: string, name: string): Promise<boolean> {
    return this.#take('time of a look', () => this.#tree.read(user, name) !== undefined)
  }

  async used(user: string, name?: string): Promise<number> {
    if (name === undefined) return (await this.usage(user)).bytes
    return this.#tree.read(user, name)?.bytes.length ?? 0
  }

  async usage(user: string): Promise<Usage> {
    return this.#take('time of a count', () => {
      const files = [...(this.#tree.published.get(user)?.values() ?? [])]
      return { bytes: files.reduce((sum, { bytes }) => sum + bytes.length, 0), files: files.length, folders: 0 }
    })
  }

  async space(): Promise<Space> {
    return { free: Number.POSITIVE_INFINITY, total: Number.POSITIVE_INFINITY, blockBytes: 1 }
  }

  async heldBytes(user: string, name: string): Promise<number> {
    const [newest] = this.#tree.find(user, name)
    return (newest && this.#tree.partial.get(newest.path)?.bytes.length) ?? 0
  }

  async conflict(user: string, name: string): Promise<string | undefined> {
    const names = this.#tree.published.get(user) ?? new Map<string, TreeFile>()
    const ancestor = ancestorsOf(name).find((folder) => names.has(folder))
    return ancestor ?? Array.from(names.keys()).find((other) => other.startsWith(`${name}/`))
  }

  version(user: string, name: string): Promise<string | undefined> {
    return this.#take('time of a look', () => this.#tree.read(user, name)?.version)
  }

  partialVersion(user: string, name: string): Promise<string | undefined> {
    const token = this.#claims.record(user, name)?.token ?? 0
    return this.#take('time of a look', () => this.#tree.partial.get(this.#tree.pathOf(user, name, token))?.version)
  }

  async isIntact(file: StoredFile): Promise<boolean> {
    const found = await this.#take('time of a look', () => this.#tree.read(file.user, file.storedName))
    return found !== undefined && this.#hasContent(found, file)
  }

  async partialBytes({ user, name, size }: NewTransfer): Promise<number> {
    return this.#take('time of a flush', () => {
      const [newest] = this.#tree.find(user, name)
      const file = newest && this.#tree.partial.get(newest.path)
      if (!file || file.bytes.length > size) return 0
      file.flush()
      return file.bytes.length
    })
  }

  /** Removes up to the token of the own claim or, without one, the files that are older than the present record. */
  async dropPartial(user: string, name: string): Promise<void> {
    const own = this.#claims.record(user, name)?.token
    const found = await this.#take('time of a look', () => this.#tree.find(user, name))
    if (found.length === 0) return
    const present = own === undefined ? await this.#claims.presentToken(user, name) : own + 1
    for (const { token, path } of found) if (present === undefined || token < present) await this.#unlink(path)
  }

  /** Removes the old files without a record, and those that later ones have replaced. */
  async sweep(before: number): Promise<readonly Orphan[]> {
    const paths = await this.#take('time of a look', () => [...this.#tree.partial.keys()])
    const present = new Map<string, number>()
    for await (const { user, name, token } of this.#claims.all()) present.set(recordKey(user, name), token)
    const orphans: Orphan[] = []
    for (const path of paths) {
      const orphan = await this.#swept(path, present, before)
      if (orphan) orphans.push(orphan)
    }
    return orphans
  }

  /** Removes a file if it is useless. Returns it if it is a partial file without a record. */
  async #swept(path: string, present: ReadonlyMap<string, number>, before: number): Promise<Orphan | undefined> {
    const file = this.#tree.partial.get(path)
    if (!file) return undefined
    const [user = '', name, token, isCopy] = path.split('\0')
    const isOld = file.image.writtenAt < before
    if (name === undefined) {
      // Another server may be about to publish it.
      if (isOld) await this.#unlink(path)
      return undefined
    }
    const record = present.get(recordKey(user, name))
    const newest = this.#tree.find(user, name)[0]?.token
    if (record !== undefined && (isCopy === undefined ? Number(token) === newest : Number(token) >= record))
      return undefined
    const removed = record !== undefined || isCopy !== undefined || file.bytes.length === 0 || isOld
    if (removed) await this.#unlink(path)
    return record === undefined && isCopy === undefined ? { file: path, bytes: file.bytes.length, removed } : undefined
  }

  async close(): Promise<void> {
    await Promise.all(Array.from(this.#open, (file) => file[Symbol.asyncDispose]()))
  }

  /** Brings the bytes of an upload to the path of this claim, where no former owner finds them. */
  async #takeOver(claim: Claim, record: TransferRecord | undefined): Promise<void> {
    const { user, name, token } = claim
    for (let left = tries; left > 0; left--) {
      const found = await this.#take('time of a look', () => this.#tree.find(user, name))
      if (found.some((other) => other.token > token)) {
        throw new OspError('superseded', `the upload ${name} of ${user} has been taken over`)
      }
      const former = record?.verified ? await this.#verifiedOf(found, record) : found[0]
      if (former === 'moved') continue
      if (!former || former.token === token) return
      if (await this.#bring(former, claim, record)) return
    }
    throw new OspError('internal', `the partial file of ${name} of ${user} is moved again and again`)
  }

  async #bring(former: TreeGeneration, claim: Claim, record: TransferRecord | undefined): Promise<boolean> {
    const isFinal = record?.verified !== undefined || this.#own.has(former.token)
    const isClosed = isFinal || !this.#claims.mayBeOpen({ ...claim, token: former.token })
    return isClosed ? this.#move(former, claim) : this.#copy(former, claim, record)
  }

  #move(former: TreeGeneration, { user, name, token }: Claim): Promise<boolean> {
    const path = this.#tree.pathOf(user, name, token)
    return this.#take('time of a rename', () => this.#tree.move(former.path, path))
  }

  /** Copies the bytes before the last checkpoint into a new file, and removes the former one. */
  async #copy(
    former: TreeGeneration,
    { user, name, token }: Claim,
    record: TransferRecord | undefined,
  ): Promise<boolean> {
    const bytes = record?.checkpoints.at(-1)?.offset ?? 0
    const path = this.#tree.pathOf(user, name, token)
    const fresh = `${path}${copySuffix}`
    if (bytes > 0) {
      const isCopied = await this.#take('time of a copy', () => {
        const from = this.#tree.partial.get(former.path)
        if (!from) return false
        const copy = this.#tree.create()
        copy.write(0, from.bytes.slice(0, bytes), this.#process)
        copy.flush()
        this.#tree.partial.set(fresh, copy)
        return true
      })
      if (!isCopied) return false
      await this.#take('time of a rename', () => this.#tree.move(fresh, path))
    }
    await this.#unlink(former.path)
    return true
  }

  async #verifiedOf(found: readonly TreeGeneration[], record: TransferRecord) {
    for (const generation of found) {
      const file = await this.#take('time of a look', () => this.#tree.partial.get(generation.path))
      if (!file) return 'moved'
      if (await this.#isVerified(file, record)) return generation
    }
    return found.every(({ path }) => this.#tree.partial.has(path)) ? undefined : 'moved'
  }

  async #isVerified(file: TreeFile, { user, verified, verifiedStamp }: TransferRecord): Promise<boolean> {
    if (file.version === verifiedStamp) return true
    if (!verified || (await this.version(user, verified.storedName)) === verifiedStamp) return false
    return this.#hasContent(file, verified)
  }

  /** Publishes the partial file at this path, or confirms that it is published. */
  async #publish({ user, name, token }: Claim, path: string, storedName: string, replace: boolean): Promise<boolean> {
    const result = await this.#take('time to publish', () => {
      const file = this.#tree.partial.get(path)
      if (!file) return undefined
      if (this.#tree.read(user, storedName) && !replace) return false
      this.#put(user, storedName, path, file, { name, token })
      return true
    })
    if (result !== undefined) return result
    const { verified, verifiedStamp } = this.#claims.record(user, name) ?? {}
    if (verifiedStamp !== undefined && (await this.version(user, storedName)) === verifiedStamp) return true
    if (verified && (await this.isIntact({ ...verified, storedName }))) return true
    throw lostFile(`the partial file of ${name} is missing, and ${storedName} is not the verified file`)
  }

  #put(user: string, storedName: string, path: string, file: TreeFile, reason: PublishReason): void {
    const replaced = this.#tree.read(user, storedName)
    this.#tree.put(user, storedName, file)
    this.#tree.partial.delete(path)
    this.#watch.published(user, storedName, file, reason, replaced)
  }

  async #hasContent(file: TreeFile, { size, algorithm, digest }: StoredFile): Promise<boolean> {
    const { bytes } = file
    if (bytes.length !== size) return false
    const read = async (into: Uint8Array, at: number) => {
      const piece = bytes.subarray(at, at + into.length)
      into.set(piece)
      return piece.length
    }
    const found = await digestOf(this.#process.platform.digests, algorithm, size, read)
    return found !== undefined && hex(found) === digest
  }

  async #unlink(path: string): Promise<void> {
    await this.#take('time of a removal', () => this.#tree.partial.delete(path))
  }

  #take<T>(reason: string, effect: () => T, partly?: () => unknown): Promise<T> {
    const { operationMs } = this.#tree
    return this.#process.effect(operationMs, reason, effect, partly, this.#tree.hangsMs(this.#process))
  }
}
