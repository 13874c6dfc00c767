import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { OspError } from '../../errors.ts'
import type { Digests } from '../../ports/platform.ts'
import type { ClaimGuard } from '../../storage/transfers/recordStore.ts'
import { makeDirectory, makePath, replaceFile, syncDirectory } from './directories.ts'
import { attempt, unless } from './faults.ts'
import { DiskFiles } from './files.ts'
import type { SharedClaims } from './generations.ts'
import { type Layout, layoutOf } from './layout.ts'
import { checkRights } from './rights.ts'

/** The version of the layout of a shared directory. */
const version = 1

/** The entries that a shared directory may have before it is initialized, for example because it is a mount point. */
const harmless = ['format.new', 'lost+found', '.snapshot']

const textOf = (id: string) => `ospd files ${version} ${id}\n`

/**
 * Initializes the shared directory of a cluster. `id` identifies it in the database. Creates the directory if necessary. Resolves
 * with false if it was initialized before. Rejects with OspError `data-format` if it belongs to another cluster or contains other
 * files.
 */
export async function createSharedFiles(path: string, id: string): Promise<boolean> {
  const { directory, format, partial, files } = layoutOf(path)
  await makePath(directory)
  const content = await contentOf(format)
  if (content !== undefined) {
    checkContent(directory, content, id)
    return false
  }
  const entries = await attempt(`reading the directory ${directory}`, () => readdir(directory))
  const strange = entries.find((entry) => !harmless.includes(entry))
  if (strange !== undefined) {
    const text = `${directory} is not the directory of a cluster: it contains no file "format", but contains "${strange}"`
    throw new OspError('data-format', `${text}; choose an empty directory`)
  }
  for (const path of [partial, files]) await makeDirectory(path)
  // Written last, so that a directory with this file is complete.
  await replaceFile(format, textOf(id), true)
  await syncDirectory(directory)
  return true
}

/** Rejects with OspError `data-format` unless this is the shared directory with this id. */
export async function checkSharedFiles(path: string, id: string): Promise<void> {
  const { directory, format } = layoutOf(path)
  const content = await contentOf(format)
  if (content === undefined) {
    throw new OspError('data-format', `${directory} is not the directory of a cluster; run "ospd cluster init" first`)
  }
  checkContent(directory, content, id)
}

async function contentOf(format: string): Promise<string | undefined> {
  return unless(['ENOENT', 'ENOTDIR'], `reading ${format}`, () => readFile(format, 'utf8'))
}

function checkContent(directory: string, content: string, id: string): void {
  const [, found, other] = /^ospd files (\d+) ([\da-f-]+)\n$/u.exec(content) ?? []
  if (found === String(version) && other === id) return
  const format = join(directory, 'format')
  if (found === undefined) throw new OspError('data-format', `${format} is damaged, or belongs to a data directory`)
  const text =
    found === String(version)
      ? `${directory} belongs to another database; specify the directory of this cluster`
      : `${format} has version ${found}, but this ospd supports only version ${version}`
  throw new OspError('data-format', text)
}

/** Partial and published files in a directory that several servers share. */
export class SharedFiles extends DiskFiles {
  readonly #shared: Layout
  readonly #id: () => Promise<string>

  /** `id` resolves with the id of the directory in the database. */
  constructor(path: string, id: () => Promise<string>, claims: ClaimGuard & SharedClaims, digests: () => Digests) {
    const layout = layoutOf(path)
    super(layout, claims, async () => {}, digests, claims)
    this.#shared = layout
    this.#id = id
  }

  override async prepare(): Promise<void> {
    await checkSharedFiles(this.#shared.directory, await this.#id())
    await checkRights(this.#shared)
    await super.prepare()
  }
}
