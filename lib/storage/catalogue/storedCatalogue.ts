import { OspError } from '../../errors.ts'
import type {
  Catalogue,
  CatalogueEntry,
  CataloguePage,
  CatalogueQuery,
  OpenFile,
  RenameOptions,
} from '../../ports/catalogue.ts'
import type { SessionLink } from '../../ports/links.ts'
import type { DigestName, Digests } from '../../ports/platform.ts'
import { hex } from '../../runtime/hex.ts'
import { digestOf } from '../../runtime/incrementalDigest.ts'
import { KeyedMutex } from '../../runtime/mutex.ts'
import type { FileKey, FileRecord, FileRecords } from './fileRecords.ts'
import type { StoredTree, TreeEntry } from './storedTree.ts'

/** The part of `Transfers` that a catalogue uses. */
interface StoredUploads {
  /** Returns the records of versions of stored files. */
  describe(keys: readonly FileKey[]): Promise<readonly (FileRecord | undefined)[]>
  /** Throws EarlierFiles if the file of an incomplete upload can have one of these names. Without this method, the tree checks it. */
  checkComplete?(user: string, names: readonly string[]): void
}

/** The algorithm by which the server computes digests that it does not know. */
const ownAlgorithm: DigestName = 'sha256'

/** The catalogue over a tree of stored files. */
export class StoredCatalogue implements Catalogue {
  readonly #tree: StoredTree
  readonly #uploads: StoredUploads
  readonly #records: FileRecords
  readonly #digests: () => Digests
  /** Computes one digest of a user at a time. */
  readonly #digesting = new KeyedMutex()
  /** Serializes changes of the records of a name. */
  readonly #changes = new KeyedMutex()

  constructor(tree: StoredTree, uploads: StoredUploads, records: FileRecords, digests: () => Digests) {
    this.#tree = tree
    this.#uploads = uploads
    this.#records = records
    this.#digests = digests
  }

  async list(user: string, query: CatalogueQuery): Promise<CataloguePage> {
    const page = await this.#tree.list(user, query)
    return { ...page, files: await this.#described(user, page.files) }
  }

  async find(user: string, name: string, needsDigest = false): Promise<CatalogueEntry | undefined> {
    const entry = await this.#tree.find(user, name)
    if (!entry) return undefined
    const [described] = await this.#described(user, [entry])
    if (!needsDigest || described?.digest !== undefined) return described
    return this.#digesting.run(user, () => this.#withDigest(user, name))
  }

  open(user: string, name: string): Promise<OpenFile | undefined> {
    return this.#tree.open(user, name)
  }

  remove(user: string, name: string, version?: string, by?: SessionLink): Promise<boolean> {
    return this.#change(user, [name], () => this.#remove(user, name, version, by))
  }

  rename(user: string, name: string, newName: string, options: RenameOptions): Promise<boolean> {
    return this.#change(user, [name, newName], () => this.#rename(user, name, newName, options))
  }

  key(): Promise<Uint8Array> {
    return this.#tree.key()
  }

  async sweep(isStopped: () => boolean = () => false): Promise<void> {
    for await (const { user, name, version } of this.#records.all()) {
      if (isStopped()) return
      await this.#change(user, [name], async () => {
        const entry = await this.#tree.find(user, name)
        if (entry?.version !== version) await this.#records.prune([{ user, name, version: entry?.version }])
      })
    }
  }

  #change<T>(user: string, names: readonly string[], work: () => Promise<T>): Promise<T> {
    const keys = names.map((name) => `${user}/${name}`)
    return this.#changes.runAll(keys, work)
  }

  async #remove(user: string, name: string, version: string | undefined, by: SessionLink | undefined) {
    const entry = await this.#tree.find(user, name)
    if (!entry) return false
    checkVersion(entry, version)
    this.#uploads.checkComplete?.(user, [name])
    await this.#tree.unlink({ user, name, version: entry.version, by })
    await this.#records.prune([{ user, name }])
    return true
  }

  async #rename(user: string, name: string, newName: string, { version, replace, by }: RenameOptions) {
    const [entry, there] = await Promise.all([this.#tree.find(user, name), this.#tree.find(user, newName)])
    if (!entry) {
      if (version !== undefined && there?.version === version) return false
      throw new OspError('no-such-file')
    }
    checkVersion(entry, version)
    if (name === newName) return false
    this.#uploads.checkComplete?.(user, [name, newName])
    // An interrupted rename can have left both names.
    const replaced = there && there.version !== entry.version ? there : undefined
    if (replaced && !replace) throw new OspError('file-exists')
    // The record is written first: the file must not lose its metadata if the process ends between the two steps.
    const [record] = await this.#uploads.describe([{ user, name, version: entry.version }])
    if (record) await this.#records.put([{ ...record, name: newName }])
    await this.#tree.move({ user, name, version: entry.version, by }, newName, replace)
    await this.#records.prune([
      { user, name },
      { user, name: newName, version: entry.version },
    ])
    return replaced !== undefined
  }

  async #described(user: string, entries: readonly TreeEntry[]): Promise<readonly CatalogueEntry[]> {
    const records = await this.#uploads.describe(entries.map(({ name, version }) => ({ user, name, version })))
    return entries.map((entry, at) => {
      const { algorithm, digest, metadata = {} } = records[at] ?? {}
      return { ...entry, ...(algorithm && digest !== undefined && { algorithm, digest }), metadata }
    })
  }

  /** Reads a file, and describes it with its digest. */
  async #withDigest(user: string, name: string): Promise<CatalogueEntry | undefined> {
    const known = await this.find(user, name)
    if (known?.digest !== undefined) return known
    await using file = await this.#tree.open(user, name)
    if (!file) return undefined
    const read = (into: Uint8Array, offset: number) => file.read(into, offset)
    const digest = await digestOf(this.#digests(), ownAlgorithm, file.size, read)
    const entry = await this.#tree.find(user, name)
    if (entry?.version !== file.version || !digest) {
      throw new OspError('file-busy', 'the file was replaced while the server read it')
    }
    const computed = { algorithm: ownAlgorithm, digest: hex(digest), metadata: {} }
    const { version, size, modifiedAt } = entry
    await this.#records.put([{ user, name, version, size, modifiedAt, ...computed }])
    return { ...entry, ...computed }
  }
}

function checkVersion(entry: TreeEntry, version: string | undefined): void {
  if (version !== undefined && entry.version !== version) throw new OspError('version-changed')
}
