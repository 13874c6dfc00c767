import { randomUUID } from 'node:crypto'
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

/** The ids in the database that identify the shared directory of a cluster. */
export interface DirectoryIds {
  readonly cluster: string
  /** The id of the directory itself; undefined until it is initialized. */
  readonly directory: string | undefined
}

const textOf = (cluster: string, directory: string) => `ospd files ${version} ${cluster} ${directory}\n`

/**
 * Returns the id of the shared directory of a cluster; undefined if it is not initialized. `ids` is undefined if the database has no
 * schema yet. Changes nothing. Rejects with OspError `data-format` if `createSharedFiles` cannot use the directory: it belongs to
 * another cluster, contains other files, or the cluster has another directory.
 */
export async function findSharedFiles(path: string, ids: DirectoryIds | undefined): Promise<string | undefined> {
  const { directory, format } = layoutOf(path)
  const content = await contentOf(format)
  if (content !== undefined) return checkContent(directory, content, ids)
  if (ids?.directory !== undefined) throw notMounted(directory, 'this cluster already has another one')
  const found = await attempt(`reading the directory ${directory}`, () =>
    unless(['ENOENT'], `reading ${directory}`, () => readdir(directory)),
  )
  const strange = found?.find((entry) => !harmless.includes(entry))
  if (strange === undefined) return undefined
  const text = `${directory} is not the directory of a cluster: it contains no file "format", but contains "${strange}"`
  throw new OspError('data-format', `${text}; choose an empty directory`)
}

/** Initializes the shared directory of a cluster, unless that has been done, and returns its id. Rejects as `findSharedFiles`. */
export async function createSharedFiles(path: string, ids: DirectoryIds): Promise<string> {
  const found = await findSharedFiles(path, ids)
  if (found !== undefined) return found
  const { directory, format, partial, files } = layoutOf(path)
  await makePath(directory)
  for (const path of [partial, files]) await makeDirectory(path)
  const id = randomUUID()
  // Written last, so that a directory with this file is complete.
  await replaceFile(format, textOf(ids.cluster, id), true)
  await syncDirectory(directory)
  return id
}

/** Rejects with OspError `data-format` unless this is the shared directory with these ids. */
export async function checkSharedFiles(path: string, ids: DirectoryIds): Promise<void> {
  const { directory, format } = layoutOf(path)
  if (ids.directory === undefined) {
    throw new OspError('data-format', 'the cluster has no directory; run "ospd cluster init" first')
  }
  const content = await contentOf(format)
  if (content === undefined) throw notMounted(directory, 'it has no file "format"')
  checkContent(directory, content, ids)
}

function notMounted(directory: string, reason: string): OspError {
  const question = 'is the shared directory mounted?'
  return new OspError('data-format', `${directory} is not the directory of this cluster: ${reason}; ${question}`)
}

async function contentOf(format: string): Promise<string | undefined> {
  return unless(['ENOENT', 'ENOTDIR'], `reading ${format}`, () => readFile(format, 'utf8'))
}

/** Returns the id of a directory whose file "format" has this content. */
function checkContent(directory: string, content: string, ids: DirectoryIds | undefined): string {
  const [, found, cluster, id] = /^ospd files (\d+) ([\da-f-]+) ([\da-f-]+)\n$/u.exec(content) ?? []
  const format = join(directory, 'format')
  if (found === undefined || id === undefined)
    throw new OspError('data-format', `${format} is damaged, or belongs to a data directory`)
  if (found !== String(version)) {
    const text = `${format} has version ${found}, but this ospd supports only version ${version}`
    throw new OspError('data-format', text)
  }
  if (ids === undefined || cluster !== ids.cluster) {
    const text = `${directory} belongs to another database; specify the directory of this cluster`
    throw new OspError('data-format', text)
  }
  if (ids.directory !== undefined && ids.directory !== id) {
    throw notMounted(directory, 'it was initialized separately')
  }
  return id
}

/** Partial and published files in a directory that several servers share. */
export class SharedFiles extends DiskFiles {
  readonly #shared: Layout
  readonly #ids: () => Promise<DirectoryIds>

  /** `ids` resolves with the ids of the directory in the database. */
  constructor(
    path: string,
    ids: () => Promise<DirectoryIds>,
    claims: ClaimGuard & SharedClaims,
    digests: () => Digests,
  ) {
    const layout = layoutOf(path)
    super(layout, claims, async () => {}, digests, claims)
    this.#shared = layout
    this.#ids = ids
  }

  override async prepare(): Promise<void> {
    await checkSharedFiles(this.#shared.directory, await this.#ids())
    await checkRights(this.#shared)
    await super.prepare()
  }
}
