import type { CatalogueEntry, CataloguePage, CatalogueQuery, OpenFile } from '../../ports/catalogue.ts'
import type { SessionLink } from '../../ports/links.ts'

/** A stored file, as far as the file system knows it. */
export type TreeEntry = Pick<CatalogueEntry, 'name' | 'size' | 'modifiedAt' | 'storedAt' | 'version'>

export interface TreePage extends Pick<CataloguePage, 'more' | 'looked'> {
  /** In the order of `compareNames`. */
  readonly files: readonly TreeEntry[]
}

/** The file that is changed. */
export interface ChangedFile extends Pick<CatalogueEntry, 'name' | 'version'> {
  readonly user: string
  /** The link whose request this is. */
  readonly by?: SessionLink | undefined
}

/** The stored files of all users without their digests. Each method does what the method of that name of `Catalogue` does. */
export interface StoredTree {
  list(user: string, query: CatalogueQuery): Promise<TreePage>
  find(user: string, name: string): Promise<TreeEntry | undefined>
  open(user: string, name: string): Promise<OpenFile | undefined>
  /** Removes an existing file, unless a tree of several servers finds that it now has another version. */
  unlink(file: ChangedFile): Promise<void>
  key(): Promise<Uint8Array>
  /**
   * Renames an existing file. Rejects with `name-conflict`. A tree of several servers rejects with `file-exists` if there is a
   * file of the new name and `replace` is not set, and with `version-changed` if the file now has another version.
   */
  move(file: ChangedFile, newName: string, replace: boolean): Promise<void>
}

/** Compares names by their bytes in UTF-8. */
export function compareNames(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let at = 0; at < length; at++) {
    const [one, other] = [a.charCodeAt(at), b.charCodeAt(at)]
    if (one !== other) return rankOf(one) - rankOf(other)
  }
  return a.length - b.length
}

/** Maps code units to numbers that sort in the order of code points: surrogates are parts of code points above all others. */
const rankOf = (unit: number) => (unit >= 0xd800 && unit < 0xe000 ? unit + 0x1_0000 : unit)

/** Collects the first entries in order, with a bounded number in memory. */
export class FirstEntries<T extends { readonly name: string }> {
  readonly #most: number
  #entries: T[] = []
  /** Whether entries were dropped because others precede them. */
  isCut = false

  constructor(most: number) {
    this.#most = most
  }

  add(entry: T): void {
    this.#entries.push(entry)
    if (this.#entries.length >= 2 * this.#most + 64) this.#cut()
  }

  /** Returns the first `most` entries in order. */
  sorted(): readonly T[] {
    this.#cut()
    return this.#entries
  }

  #cut(): void {
    this.#entries.sort((a, b) => compareNames(a.name, b.name))
    if (this.#entries.length <= this.#most) return
    this.isCut = true
    this.#entries.length = this.#most
  }
}
