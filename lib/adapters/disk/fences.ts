import { link, mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { OspError } from '../../errors.ts'
import { single } from '../../runtime/settled.ts'
import type { ChangedFile } from '../../storage/catalogue/storedTree.ts'
import type { Fences } from '../cluster/fences.ts'
import { attempt, errnoOf, unless } from './faults.ts'
import type { Layout } from './layout.ts'
import { entryAt, type PublishedTree, stampOf } from './publishedTree.ts'

const suffix = '.change'

/** Returns whether an entry of the directory of partial files is a fence. */
export const isFence = (entry: string): boolean => entry.endsWith(suffix)

/** The fences of changes: directories beside the partial files. */
export class DiskFences implements Fences {
  readonly #layout: Layout
  readonly #tree: PublishedTree

  constructor(layout: Layout, tree: PublishedTree) {
    this.#layout = layout
    this.#tree = tree
  }

  async add(fence: string): Promise<void> {
    const path = this.#pathOf(fence)
    await attempt(`creating the directory ${path}`, () => mkdir(path, { mode: 0o700 }))
  }

  async list(): Promise<readonly string[]> {
    const { partial } = this.#layout
    const entries = await attempt(`reading the directory ${partial}`, () => readdir(partial))
    return entries.filter(isFence).map((entry) => entry.slice(0, -suffix.length))
  }

  async remove(fence: string): Promise<void> {
    const path = this.#pathOf(fence)
    await attempt(`removing the directory ${path}`, () => rm(path, { force: true, recursive: true }))
  }

  async unlink(file: ChangedFile, fence: string): Promise<boolean> {
    const parts = this.#layout.partsOf(file.user, file.name)
    const stats = await this.#tree.file(parts)
    if (!stats || stampOf(stats) !== file.version) return false
    return this.#tree.remove(parts, join(this.#pathOf(fence), 'removed'))
  }

  async link({ user, name, version }: ChangedFile, newName: string, replace: boolean, fence: string): Promise<boolean> {
    const path = this.#tree.pathOf(this.#layout.partsOf(user, name))
    const further = join(this.#pathOf(fence), 'linked')
    const isLinked = await unless(['ENOENT'], `linking ${path} to ${further}`, () =>
      link(path, further).then(() => true),
    )
    const stats = isLinked && (await entryAt(further))
    if (!stats || stampOf(stats) !== version) return false
    const move = { partial: further, parts: this.#layout.partsOf(user, newName) }
    const [result = false] = await this.#tree.publish([move], replace)
    if (result === false) throw new OspError('file-exists')
    if (result instanceof Error && !(await entryAt(further)) && isMissing(result)) return false
    return single([result])
  }

  #pathOf(fence: string): string {
    return join(this.#layout.partial, `${fence}${suffix}`)
  }
}

/** Returns whether a file could not be moved because it is missing. */
const isMissing = (error: Error) => OspError.from(error).code === 'digest-mismatch' || errnoOf(error.cause) === 'ENOENT'
