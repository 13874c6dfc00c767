import { makeDirectory, makePath } from '../../lib/adapters/disk/directories.ts'
import { DiskFileRecords } from '../../lib/adapters/disk/fileRecords.ts'
import { DiskFiles } from '../../lib/adapters/disk/files.ts'
import { checkFormat } from '../../lib/adapters/disk/format.ts'
import type { SharedClaims } from '../../lib/adapters/disk/generations.ts'
import { DiskJournal } from '../../lib/adapters/disk/journal.ts'
import { layoutOf } from '../../lib/adapters/disk/layout.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { OspError } from '../../lib/errors.ts'
import { fixed } from '../../lib/limits.ts'
import type { Platform } from '../../lib/ports/platform.ts'
import type { Claim, Storage, StoredFile, TransferRecord } from '../../lib/ports/storage.ts'
import { StoredCatalogue } from '../../lib/storage/catalogue/storedCatalogue.ts'
import { Mailboxes } from '../../lib/storage/mailboxes/mailboxes.ts'
import { type ClaimGuard, RecordStore } from '../../lib/storage/transfers/recordStore.ts'
import { Transfers } from '../../lib/storage/transfers/transfers.ts'
import { UploadLog } from '../../lib/storage/transfers/uploadLog.ts'

const segmentBytes = 1_024

async function makeLayout(data: string) {
  const layout = layoutOf(data)
  await makePath(layout.directory)
  await checkFormat(layout, nodePlatform().crc32)
  for (const path of [layout.uploads, layout.partial, layout.files, layout.mailboxes]) await makeDirectory(path)
  return layout
}

/** A storage of one process whose files are those of a shared directory. It meets the contract of a storage for one process. */
export class GenerationStorage implements Storage {
  readonly transfers: Transfers
  readonly files: DiskFiles
  readonly mailboxes = new Mailboxes()
  readonly catalogue: StoredCatalogue
  readonly #data: string
  readonly #fileRecords: DiskFileRecords
  readonly #records = new RecordStore()
  #platform: Platform = nodePlatform()

  constructor(data: string) {
    this.#data = data
    const shared: SharedClaims = {
      presentToken: async (user, name) => this.#records.record(user, name)?.token,
      // No other process has the directory open.
      mayBeOpen: () => false,
    }
    const digests = () => this.#platform.digests
    this.files = new DiskFiles(layoutOf(data), this.#records, async () => {}, digests, shared)
    this.#fileRecords = new DiskFileRecords(layoutOf(data).catalogue)
    const transfers = new Transfers(this.#records, this.files, () => this.#platform.clock.wallTime(), this.#fileRecords)
    this.transfers = transfers
    this.catalogue = new StoredCatalogue(this.files.tree, transfers, this.#fileRecords, digests)
  }

  async open(platform: Platform): Promise<void> {
    this.#platform = platform
    const layout = await makeLayout(this.#data)
    await this.files.prepare()
    await this.#fileRecords.open()
    const rows = await DiskJournal.open(layout.uploads, segmentBytes, platform)
    await this.#records.open(await UploadLog.open(rows, platform, fixed.notes))
    await this.mailboxes.open(await DiskJournal.open(layout.mailboxes, segmentBytes, platform), platform)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.#records.close()
    await this.files.close()
    await closed
    await this.transfers.idle().catch(() => {})
    await this.#fileRecords.close()
    await this.mailboxes.close()
  }
}

/** The claims that one of several servers knows. Each server has its own view, which can be out of date. */
export class ServerClaims implements ClaimGuard, SharedClaims {
  readonly #records = new Map<string, TransferRecord>()
  /** The present token in the shared store, if it is known to differ from that of this server. */
  token: number | undefined
  readonly mayBeOpen: (former: Claim) => boolean

  constructor(mayBeOpen: (former: Claim) => boolean) {
    this.mayBeOpen = mayBeOpen
  }

  /** Grants a claim of `alice` on `a` to this server. */
  grant(token: number, fields: Partial<TransferRecord> = {}): Claim {
    const upload = { user: 'alice', name: 'a', size: 1_000, modifiedAt: 0, algorithm: 'sha256' } as const
    const owner = { node: token, instance: 1, session: String(token) }
    const record = { ...upload, token, owner, superseded: [], checkpoints: [], updatedAt: 0, ...fields }
    this.#records.set(`${record.user}/${record.name}`, record)
    return record
  }

  /** Forgets a claim: the record was removed from the shared store. */
  forget({ user, name }: Claim): void {
    this.#records.delete(`${user}/${name}`)
  }

  checkOpen(): void {}

  async guard<T>(claim: Claim, work: () => Promise<T>): Promise<T> {
    if (this.record(claim.user, claim.name)?.token !== claim.token) throw new OspError('superseded')
    return work()
  }

  record(user: string, name: string): TransferRecord | undefined {
    return this.#records.get(`${user}/${name}`)
  }

  all(): Iterable<TransferRecord> {
    return this.#records.values()
  }

  async presentToken(user: string, name: string): Promise<number | undefined> {
    return this.token ?? this.record(user, name)?.token
  }
}

/** Opens the files of a directory for one server. */
export async function sharedFiles(data: string, claims: ServerClaims): Promise<DiskFiles> {
  const platform = nodePlatform()
  await platform.digests.load('sha256')
  const files = new DiskFiles(
    await makeLayout(data),
    claims,
    async () => {},
    () => platform.digests,
    claims,
  )
  await files.prepare()
  return files
}

/** Returns the fields of a verified record. */
export function verifiedAs(size: number, digest: string): { readonly verified: StoredFile } {
  const file = {
    user: 'alice',
    name: 'a',
    storedName: 'a',
    replaced: false,
    size,
    algorithm: 'sha256',
    digest,
  } as const
  return { verified: file }
}
