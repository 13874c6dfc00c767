import { BoundedMap } from '../../core/boundedMap.ts'
import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import type {
  Catalogue,
  CatalogueEntry,
  CataloguePage,
  CatalogueQuery,
  OpenFile,
  RenameOptions,
} from '../../ports/catalogue.ts'
import type { DigestName, Digests } from '../../ports/platform.ts'
import { hex } from '../../runtime/hex.ts'
import { digestOf } from '../../runtime/incrementalDigest.ts'
import type { StoredTree, TreeEntry } from './storedTree.ts'

/** The digest of a stored file. */
export type KnownDigest = Required<Pick<CatalogueEntry, 'algorithm' | 'digest'>>

/** Returns the digest of this version of a stored file, if an upload has left it. */
export type DigestOfUpload = (user: string, name: string, version: string) => KnownDigest | undefined

/** The algorithm by which the server computes digests that it does not know. */
const ownAlgorithm: DigestName = 'sha256'

/** The catalogue over a tree of stored files. */
export class StoredCatalogue implements Catalogue {
  readonly #tree: StoredTree
  readonly #digestOfUpload: DigestOfUpload
  readonly #digests: () => Digests
  /** The digests that were computed, by user, name and version. */
  readonly #computed = new BoundedMap<string, KnownDigest>(fixed.computedDigests)

  constructor(tree: StoredTree, digestOfUpload: DigestOfUpload, digests: () => Digests) {
    this.#tree = tree
    this.#digestOfUpload = digestOfUpload
    this.#digests = digests
  }

  async list(user: string, query: CatalogueQuery): Promise<CataloguePage> {
    const { files, more } = await this.#tree.list(user, query)
    return { files: files.map((entry) => this.#described(user, entry)), more }
  }

  async find(user: string, name: string, needsDigest = false): Promise<CatalogueEntry | undefined> {
    const entry = await this.#tree.find(user, name)
    if (!entry) return undefined
    const described = this.#described(user, entry)
    if (!needsDigest || described.digest !== undefined) return described
    return this.#withDigest(user, name)
  }

  open(user: string, name: string): Promise<OpenFile | undefined> {
    return this.#tree.open(user, name)
  }

  async remove(user: string, name: string, version?: string): Promise<boolean> {
    const entry = await this.#tree.find(user, name)
    if (!entry) return false
    checkVersion(entry, version)
    await this.#tree.unlink(user, name)
    return true
  }

  async rename(user: string, name: string, newName: string, { version, replace }: RenameOptions): Promise<boolean> {
    const [entry, there] = await Promise.all([this.#tree.find(user, name), this.#tree.find(user, newName)])
    if (!entry) {
      if (version !== undefined && there?.version === version) return false
      throw new OspError('no-such-file')
    }
    checkVersion(entry, version)
    if (name === newName) return false
    if (there && !replace) throw new OspError('file-exists')
    await this.#tree.move(user, name, newName)
    const known = this.#known(user, entry)
    if (known) this.#computed.set(keyOf(user, { ...entry, name: newName }), known)
    return there !== undefined
  }

  #described(user: string, entry: TreeEntry): CatalogueEntry {
    return { ...entry, ...this.#known(user, entry), metadata: {} }
  }

  #known(user: string, entry: TreeEntry): KnownDigest | undefined {
    return this.#computed.get(keyOf(user, entry)) ?? this.#digestOfUpload(user, entry.name, entry.version)
  }

  /** Reads a file, and describes it with its digest. */
  async #withDigest(user: string, name: string): Promise<CatalogueEntry | undefined> {
    await using file = await this.#tree.open(user, name)
    if (!file) return undefined
    const read = (into: Uint8Array, offset: number) => file.read(into, offset)
    const digest = await digestOf(this.#digests(), ownAlgorithm, file.size, read)
    const entry = await this.#tree.find(user, name)
    if (entry?.version !== file.version || !digest) {
      throw new OspError('file-busy', 'the file was replaced while the server read it')
    }
    this.#computed.set(keyOf(user, entry), { algorithm: ownAlgorithm, digest: hex(digest) })
    return this.#described(user, entry)
  }
}

/** Returns one text for a version of a file. No name contains a NUL. */
const keyOf = (user: string, { name, version }: Pick<TreeEntry, 'name' | 'version'>) => `${user}\0${name}\0${version}`

function checkVersion(entry: TreeEntry, version: string | undefined): void {
  if (version !== undefined && entry.version !== version) throw new OspError('version-changed')
}
