import type { TransferRecord } from '../../ports/storage.ts'
import type { CopiedDevices, CopiedId, CopiedMessage } from '../../storage/mailboxes/copies.ts'
import type { ImportedMarker, ImportOrigin, ImportSteps, StoredImport, StoredUser } from '../cluster/steps.ts'
import type { SharedMail } from './sharedMail.ts'
import type { SharedServers } from './sharedServers.ts'
import type { SharedTransfers } from './sharedTransfers.ts'
import type { SharedUsers } from './sharedUsers.ts'

/** The steps of imports into a shared store in memory. */
export class SharedImports implements ImportSteps {
  readonly #servers: SharedServers
  readonly #mail: SharedMail
  readonly #transfers: SharedTransfers
  readonly #users: SharedUsers

  constructor(servers: SharedServers, mail: SharedMail, transfers: SharedTransfers, users: SharedUsers) {
    this.#servers = servers
    this.#mail = mail
    this.#transfers = transfers
    this.#users = users
  }

  async list(): Promise<readonly StoredImport[]> {
    return this.#servers.importList()
  }

  async usedNames(): Promise<readonly string[]> {
    return [...new Set([...this.#users.userNames(), ...this.#transfers.userNames(), ...this.#mail.userNames()])]
  }

  async begin(origin: ImportOrigin): Promise<StoredImport> {
    const seqShift = await this.#mail.lastSeq()
    const isKnown = this.#servers.importList().some(({ id }) => id === origin.id)
    const begun = this.#servers.beginImport(origin, seqShift)
    if (!isKnown) await this.#mail.addCopies([], [], seqShift + origin.lastSeq)
    return begun
  }

  async addUsers(users: readonly StoredUser[]): Promise<void> {
    this.#users.add(users)
  }

  async addMarkers(server: number, markers: readonly ImportedMarker[]): Promise<void> {
    this.#transfers.addMarkers(server, markers)
  }

  async addUpload(server: number, record: TransferRecord): Promise<void> {
    this.#transfers.addUpload(server, record)
  }

  addMessages(_server: number, messages: readonly CopiedMessage[]): Promise<void> {
    return this.#mail.addCopies(messages, [])
  }

  addIds(_server: number, ids: readonly CopiedId[]): Promise<void> {
    return this.#mail.addCopies([], ids)
  }

  addDevices(devices: CopiedDevices): Promise<void> {
    return this.#mail.addDevices(devices)
  }

  async finish(id: string): Promise<void> {
    this.#servers.finishImport(id)
  }
}
