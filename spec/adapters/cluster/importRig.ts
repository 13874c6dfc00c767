import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hashOf } from '../../../lib/adapters/auth/tokens.ts'
import { usersFile } from '../../../lib/adapters/auth/usersFile.ts'
import { ClusterStorage } from '../../../lib/adapters/cluster/clusterStorage.ts'
import type { Steps } from '../../../lib/adapters/cluster/steps.ts'
import { DataDirectory } from '../../../lib/adapters/disk/dataDirectory.ts'
import { disk } from '../../../lib/adapters/disk/disk.ts'
import { ImportedFiles } from '../../../lib/adapters/disk/importedFiles.ts'
import { createSharedFiles, SharedFiles } from '../../../lib/adapters/disk/sharedFiles.ts'
import { MemorySharedStore } from '../../../lib/adapters/memory/sharedStore.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { AddressedMessage } from '../../../lib/ports/mailboxes.ts'
import type { Claim, NewTransfer, Storage } from '../../../lib/ports/storage.ts'
import { hex } from '../../../lib/runtime/hex.ts'
import { message, roomy } from '../../../lib/testing/storage/mailSteps.ts'

const platform = nodePlatform()

// In memory, since each import flushes many directories.
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

/** Creates a directory, which is removed with its content. */
export async function importPlace() {
  const path = await mkdtemp(join(base, 'ospd-spec-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

const dayMs = 86_400_000

/** Returns the content of an upload, which its name determines. */
const contentOf = (name: string, size: number) => Buffer.alloc(size, `${name} `)

const digestOf = (content: Uint8Array) => hex(hashOf(content.toString()))

export const uploadOf = (user: string, name: string, size = 2_000): NewTransfer => ({
  ...{ user, name, size, modifiedAt: 1_700_000_000_000, algorithm: 'sha256' },
})

const ownerOf = (node: number) => ({ node, instance: 1, session: randomBytes(16).toString('hex') })

const plain = { fresh: false, takeOver: false, onConflict: 'replace', at: Date.now() } as const

/** Claims an upload, and writes its first bytes. */
async function begun(storage: Storage, want: NewTransfer, bytes: number): Promise<Claim> {
  const claimed = await storage.transfers.claim(want, ownerOf(1), plain)
  if ('completed' in claimed) assert.fail(`${want.name} is complete`)
  await using file = await storage.files.open(claimed.claim)
  const content = contentOf(want.name, want.size).subarray(0, bytes)
  await file.write(0, [content])
  await file.flush()
  const digest = hashOf(content.toString())
  await storage.transfers.checkpoint(claimed.claim, [{ offset: bytes, digest }], Date.now())
  return claimed.claim
}

/** Sends a whole file. With `isPublished` unset, a crash prevents its publication. */
async function sent(storage: Storage, want: NewTransfer, isPublished = true): Promise<void> {
  const claim = await begun(storage, want, want.size)
  const { user, name, size, algorithm } = want
  const digest = digestOf(contentOf(name, size))
  await storage.transfers.verified(claim, { user, name, storedName: name, replaced: false, size, algorithm, digest })
  if (!isPublished) return
  await using file = await storage.files.open(claim)
  await file.publish(name, true)
  await storage.transfers.complete(claim, dayMs)
}

/** A message that waits for bob and for carol, and one that both have received. */
export const waitingMessage: AddressedMessage = { ...message(1), recipients: ['bob', 'carol'] }
export const receivedMessage: AddressedMessage = { ...message(2), recipients: ['bob', 'carol'] }

/** Makes a data directory with something of every kind. Resolves with the token of alice. */
export async function makeDataDirectory(path: string, files = 3): Promise<string> {
  const token = await usersFile(path).add('alice')
  await usersFile(path).add('bob')
  await using storage = disk(path)
  await storage.open(platform)
  for (let number = 0; number < files; number++)
    await sent(storage, { ...uploadOf('alice', `folder ${number % 2}/${number}`), metadata: { number: `${number}` } })
  await storage.transfers.reported([{ user: 'alice', name: 'folder 0/0' }])
  await begun(storage, { ...uploadOf('alice', 'unfinished'), metadata: { unfinished: 'yes' } }, 1_000)
  await begun(storage, uploadOf('bob', 'other'), 500)
  await sent(storage, uploadOf('bob', 'verified'), false)
  await storage.catalogue?.key()
  const { mailboxes } = storage
  const others = [3, 4, 5].map((number) => ({ ...message(number), recipients: ['carol'] }))
  await mailboxes.append([waitingMessage, receivedMessage, ...others], roomy)
  for (const user of ['bob', 'carol']) await mailboxes.remove(user, [2])
  await mailboxes.setAside('carol', [4])
  // Entries of other programs.
  const folder = join(path, 'files/dave')
  await mkdir(folder)
  await writeFile(join(folder, 'made elsewhere'), 'x')
  await symlink('made elsewhere', join(folder, 'link'))
  return token
}

/** A new cluster whose store is in memory. */
export class ImportTarget implements AsyncDisposable {
  readonly store = new MemorySharedStore(platform)
  readonly #directory: Awaited<ReturnType<typeof importPlace>>
  readonly #ids: { readonly cluster: string; readonly directory: string }
  readonly files: ImportedFiles

  private constructor(
    directory: Awaited<ReturnType<typeof importPlace>>,
    ids: ImportTarget['ids'],
    files: ImportedFiles,
  ) {
    this.#directory = directory
    this.#ids = ids
    this.files = files
  }

  static async create(): Promise<ImportTarget> {
    const directory = await importPlace()
    const cluster = randomUUID()
    const ids = { cluster, directory: await createSharedFiles(directory.path, { cluster, directory: undefined }) }
    return new ImportTarget(directory, ids, await ImportedFiles.open(directory.path, ids, platform.digests))
  }

  get path(): string {
    return this.#directory.path
  }

  get ids() {
    return this.#ids
  }

  async steps(): Promise<Steps> {
    const steps = this.store.steps()
    await steps.open()
    return steps
  }

  /** Returns the open storage of a further server. */
  async server(): Promise<ClusterStorage> {
    const info = { name: 'a', version: '1', address: '' }
    const storage = new ClusterStorage(
      this.store.steps(),
      info,
      (claims, digests) => new SharedFiles(this.path, async () => this.#ids, claims, digests),
    )
    await storage.open(platform)
    return storage
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#directory[Symbol.asyncDispose]()
  }
}

/** Opens a data directory for an import. */
export const opened = (path: string): Promise<DataDirectory> => DataDirectory.open(path, platform)

export const { clock } = platform
