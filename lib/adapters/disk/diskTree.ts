import { type BigIntStats, constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { isStoredFileName } from '../../names.ts'
import type { CatalogueQuery, OpenFile } from '../../ports/catalogue.ts'
import {
  type ChangedFile,
  compareNames,
  FirstEntries,
  type StoredTree,
  type TreeEntry,
  type TreePage,
} from '../../storage/catalogue/storedTree.ts'
import { attempt, unless } from './faults.ts'
import type { Layout } from './layout.ts'
import { entriesOf, type PublishedTree, stampOf } from './publishedTree.ts'
import { readFull } from './readFull.ts'
import { safeOpenFlags } from './rights.ts'
import { storedKey } from './storedKey.ts'

/** An entry of a folder: a file, or a folder, whose name then ends with `/`. */
interface FolderEntry {
  readonly name: string
}

/** Counts the entries of folders that were read for a list. */
interface ListWork {
  looked: number
}

/** The number of files that are listed before other work is done. */
const listedTogether = 32

/** The published files below a data directory. */
export class DiskTree implements StoredTree {
  readonly #layout: Layout
  readonly #tree: PublishedTree
  readonly #check: () => void
  #key: Uint8Array | undefined

  /** `check` throws if the storage is closed or its directories were replaced. */
  constructor(layout: Layout, tree: PublishedTree, check: () => void) {
    this.#layout = layout
    this.#tree = tree
    this.#check = check
  }

  async list(user: string, { prefix, after, most }: CatalogueQuery): Promise<TreePage> {
    this.#check()
    const files: TreeEntry[] = []
    const work = { looked: 0 }
    for await (const entry of this.#files(user, '', { prefix, after, most: most + 1 }, work)) {
      if (files.length === most) return { files, more: true, ...work }
      // So that other requests are not delayed for long.
      if (files.push(entry) % listedTogether === 0) await setImmediate()
    }
    return { files, more: false, ...work }
  }

  async find(user: string, name: string): Promise<TreeEntry | undefined> {
    this.#check()
    const stats = await this.#tree.file(this.#layout.partsOf(user, name))
    return stats && entryOf(name, stats)
  }

  async open(user: string, name: string): Promise<OpenFile | undefined> {
    this.#check()
    const parts = this.#layout.partsOf(user, name)
    if (!(await this.#tree.file(parts))) return undefined
    const path = this.#tree.pathOf(parts)
    const opening = () => open(path, constants.O_RDONLY | safeOpenFlags)
    const handle = await unless(['ENOENT'], `opening ${path}`, opening)
    if (!handle) return undefined
    const stats = await handle.stat({ bigint: true })
    return {
      size: Number(stats.size),
      version: stampOf(stats),
      read: (into, offset) => attempt(`reading ${path}`, () => readFull(handle, into, offset)),
      [Symbol.asyncDispose]: () => attempt(`closing ${path}`, () => handle.close()),
    }
  }

  async key(): Promise<Uint8Array> {
    this.#check()
    this.#key ??= await storedKey(this.#layout.key)
    return this.#key
  }

  async unlink({ user, name }: ChangedFile): Promise<void> {
    this.#check()
    await this.#tree.remove(this.#layout.partsOf(user, name))
  }

  move({ user, name }: ChangedFile, newName: string): Promise<void> {
    this.#check()
    const { partsOf } = this.#layout
    return this.#tree.rename(partsOf(user, name), partsOf(user, newName))
  }

  /** Yields the files below a folder in order. `folder` is empty or ends with `/`. */
  async *#files(user: string, folder: string, query: CatalogueQuery, work: ListWork): AsyncGenerator<TreeEntry> {
    let { after } = query
    for (;;) {
      const { entries, isCut } = await this.#firstEntries(user, folder, { ...query, after }, work)
      for (const { name } of entries) {
        if (name.endsWith('/')) yield* this.#files(user, name, query, work)
        else {
          const stats = await this.#tree.file(this.#layout.partsOf(user, name))
          if (stats) yield entryOf(name, stats)
        }
      }
      const last = entries.at(-1)
      if (!isCut || !last) return
      after = last.name.endsWith('/') ? `${last.name}${highest}` : last.name
    }
  }

  /** Returns the first entries of a folder that can contain files of the query. */
  async #firstEntries(user: string, folder: string, { prefix, after, most }: CatalogueQuery, work: ListWork) {
    const path = this.#tree.pathOf([user, ...folder.split('/').slice(0, -1)])
    const first = new FirstEntries<FolderEntry>(most)
    for await (const entries of entriesOf(path)) {
      work.looked += entries.length
      for (const entry of entries) {
        const name = `${folder}${entry.name}`
        if (!isStoredFileName(name)) continue
        const isFile = entry.isFile() && name.startsWith(prefix) && compareNames(name, after) > 0
        if (isFile) first.add({ name })
        else if (entry.isDirectory() && mayContain(`${name}/`, prefix, after)) first.add({ name: `${name}/` })
      }
    }
    return { entries: first.sorted(), isCut: first.isCut }
  }
}

/** Sorts after every character of a name. */
const highest = '\u{10ffff}'

/** Returns whether a folder can contain files with this prefix after this name. */
function mayContain(folder: string, prefix: string, after: string): boolean {
  const hasPrefix = folder.startsWith(prefix) || prefix.startsWith(folder)
  return hasPrefix && (after.startsWith(folder) ? after !== `${folder}${highest}` : compareNames(folder, after) > 0)
}

function entryOf(name: string, stats: BigIntStats): TreeEntry {
  const { size, mtimeNs, ctimeNs } = stats
  return {
    name,
    size: Number(size),
    modifiedAt: msOf(mtimeNs),
    storedAt: msOf(ctimeNs),
    version: stampOf(stats),
  }
}

/** Rounds, since the system stores the times of files as fractions of a second. */
const msOf = (ns: bigint): number => Math.max(0, Math.round(Number(ns) / 1e6))
