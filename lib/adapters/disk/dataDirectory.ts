import { createHash, type Hash } from 'node:crypto'
import type { Dirent } from 'node:fs'
import { lstat, readdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { OspError } from '../../errors.ts'
import { checkStoredName, checkUserName, isUserName } from '../../names.ts'
import type { Damage } from '../../ports/mailboxes.ts'
import type { Platform } from '../../ports/platform.ts'
import type { TransferRecord } from '../../ports/storage.ts'
import type { FileKey, FileRecord } from '../../storage/catalogue/fileRecords.ts'
import type { CopiedDevices, CopiedId, CopiedMessage } from '../../storage/mailboxes/copies.ts'
import type { CompletionMarker } from '../../storage/transfers/rows.ts'
import { StoredUsersFile, type UserRow } from '../auth/usersFile/stored.ts'
import { DiskStorage } from './disk.ts'
import { attempt, unless } from './faults.ts'
import { layoutOf } from './layout.ts'
import { readKey } from './storedKey.ts'

/** A published file of a data directory. */
export interface PublishedFile {
  readonly user: string
  /** The name under which it is stored. */
  readonly name: string
  readonly path: string
  readonly size: number
  readonly mtimeMs: number
}

/** An entry among the published files that no client can receive. */
export interface StrangeEntry {
  readonly path: string
  readonly reason: string
}

/** The data directory of a server that is not running, for an import. It is locked while it is open. */
export class DataDirectory implements AsyncDisposable {
  readonly #storage: DiskStorage
  readonly #users: readonly UserRow[] | undefined
  #id: string | undefined

  private constructor(storage: DiskStorage, users: readonly UserRow[] | undefined) {
    this.#storage = storage
    this.#users = users
  }

  /**
   * Opens a data directory. Rejects with OspError `data-format` if it is not one, and with `data-locked` if a server uses it.
   */
  static async open(path: string, platform: Platform): Promise<DataDirectory> {
    const layout = layoutOf(path)
    const format = await unless(['ENOENT', 'ENOTDIR'], `checking ${layout.format}`, () => stat(layout.format))
    if (!format) {
      const text = `${layout.directory} is not the data directory of a server: it has no file "format"`
      throw new OspError('data-format', `${text}; specify the directory that "ospd serve --data" used`)
    }
    const storage = new DiskStorage(layout)
    await storage.open(platform)
    try {
      const read = await new StoredUsersFile(layout.directory).read()
      return new DataDirectory(storage, read && [...read.users.values()])
    } catch (error) {
      await storage[Symbol.asyncDispose]()
      throw error
    }
  }

  get place(): string {
    return this.#storage.layout.directory
  }

  /** The users, or undefined if the server authenticates clients in another way. */
  get users(): readonly UserRow[] | undefined {
    return this.#users
  }

  get records(): readonly TransferRecord[] {
    return this.#storage.uploads.records()
  }

  get markers(): readonly CompletionMarker[] {
    return this.#storage.uploads.markers()
  }

  messages(): AsyncIterable<readonly CopiedMessage[]> {
    return this.#storage.mailboxes.messageCopies()
  }

  ids(): Iterable<CopiedId> {
    return this.#storage.mailboxes.idCopies()
  }

  devices(): Iterable<CopiedDevices> {
    return this.#storage.mailboxes.deviceCopies()
  }

  lastSeq(): Promise<number> {
    return this.#storage.mailboxes.lastSeq()
  }

  lastTime(): Promise<number> {
    return this.#storage.mailboxes.lastTime()
  }

  /** Returns the path of the partial file of an upload, which may be missing. */
  partialOf(user: string, name: string): string {
    return this.#storage.layout.partialOf(user, name)
  }

  /** Resolves with the key of references to files, if the server has created one. */
  key(): Promise<Uint8Array | undefined> {
    return readKey(this.#storage.layout.key)
  }

  /** Resolves with the version of a published file, with which completion markers identify it. */
  version(user: string, storedName: string): Promise<string | undefined> {
    return this.#storage.files.version(user, storedName)
  }

  /** Resolves with the record of each of these versions, if there is one. */
  describe(keys: readonly FileKey[]): Promise<readonly (FileRecord | undefined)[]> {
    return this.#storage.transfers.describe(keys)
  }

  async damages(): Promise<readonly Damage[]> {
    const { transfers, mailboxes } = this.#storage
    return [...(await transfers.damages()), ...(await mailboxes.damages())]
  }

  /** Returns the names of all users with data in the directory. */
  async names(): Promise<ReadonlySet<string>> {
    const names = new Set([...this.records, ...this.markers.map(({ file }) => file)].map(({ user }) => user))
    for (const { name } of this.#users ?? []) names.add(name)
    for (const { user } of this.#storage.mailboxes.mailboxStates()) names.add(user)
    for (const { sender } of this.ids()) names.add(sender)
    for (const { user } of this.devices()) names.add(user)
    for (const { name, isDirectory } of await this.#owners()) if (isDirectory) names.add(name)
    return names
  }

  /** Yields the published files and all other entries, always in the same order. */
  async *files(): AsyncGenerator<PublishedFile | StrangeEntry> {
    const { files } = this.#storage.layout
    for (const { name: user, isDirectory } of await this.#owners()) {
      const path = join(files, user)
      if (isDirectory) yield* filesIn(checkUserName(user), path, '')
      else yield { path, reason: 'it is not the folder of a user' }
    }
  }

  /** Resolves with a text that identifies the content of the directory, and stays the same while no server uses the directory. */
  async id(): Promise<string> {
    this.#id ??= await this.#digest()
    return this.#id
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#storage[Symbol.asyncDispose]()
  }

  /** Resolves with the entries of the directory of published files. */
  async #owners(): Promise<readonly { readonly name: string; readonly isDirectory: boolean }[]> {
    const { files, partial } = this.#storage.layout
    const entries = await entriesIn(files)
    const others = entries.filter(({ name }) => join(files, name) !== partial && name !== 'lost+found')
    return others.map((entry) => ({ name: entry.name, isDirectory: entry.isDirectory() && isUserName(entry.name) }))
  }

  async #digest(): Promise<string> {
    const hash = createHash('sha256')
    add(hash, this.#users ?? null)
    add(hash, [await this.lastSeq(), await this.lastTime()])
    for (const state of this.#storage.mailboxes.mailboxStates()) add(hash, state)
    for (const devices of Array.from(this.devices(), (copied) => JSON.stringify(copied)).sort()) add(hash, devices)
    const rows = [...this.records.map((record) => ({ ...record, checkpoints: offsetsOf(record) })), ...this.markers]
    for (const row of rows.map((value) => JSON.stringify(value)).sort()) add(hash, row)
    for await (const entry of this.files()) {
      if ('reason' in entry) continue
      const { user, name, size, mtimeMs } = entry
      add(hash, [user, name, size, mtimeMs])
    }
    return hash.digest('hex')
  }
}

const offsetsOf = ({ checkpoints }: TransferRecord) => checkpoints.map(({ offset }) => offset)

function add(hash: Hash, value: unknown): void {
  hash.update(`${JSON.stringify(value)}\n`)
}

/** Resolves with the entries of a directory, sorted by name. */
async function entriesIn(path: string): Promise<readonly Dirent[]> {
  const entries = await attempt(`reading the directory ${path}`, () => readdir(path, { withFileTypes: true }))
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Yields the files in a folder of a user. `above` is the name of the folder with a `/` at its end. */
async function* filesIn(user: string, folder: string, above: string): AsyncGenerator<PublishedFile | StrangeEntry> {
  for (const entry of await entriesIn(folder)) {
    const path = resolve(folder, entry.name)
    const name = `${above}${entry.name}`
    if (entry.isDirectory()) yield* filesIn(user, path, `${name}/`)
    else if (entry.isFile()) yield await fileAt(user, name, path)
    else yield { path, reason: 'it is not a regular file' }
  }
}

async function fileAt(user: string, name: string, path: string): Promise<PublishedFile | StrangeEntry> {
  try {
    checkStoredName(name)
  } catch (error) {
    return { path, reason: (error as Error).message }
  }
  const { size, mtimeMs } = await attempt(`checking ${path}`, () => lstat(path))
  return { user, name, path, size, mtimeMs }
}
