import type { Claim, TransferRecord } from '../../ports/storage.ts'
import { type ClaimGuard, endedClaimError, recordKey } from '../../storage/transfers/recordStore.ts'
import type { ClusterMember } from './clusterMember.ts'

/** The maximum number of records that are read in one step. */
const pageRecords = 500

interface HeldClaim {
  record: TransferRecord
  /** The token of the latest claim of this name that was released when this one was granted; 0 if there is none. */
  readonly released: number
  /** The writes under this claim that have not ended. */
  readonly running: Set<Promise<unknown>>
}

/** The claims that a server of a cluster holds. They guard the partial files of its uploads. */
export class ClusterClaims implements ClaimGuard {
  readonly #member: ClusterMember
  readonly #held = new Map<string, HeldClaim>()

  constructor(member: ClusterMember) {
    this.#member = member
  }

  checkOpen(): void {
    this.#member.checkOpen()
  }

  async guard<T>(claim: Claim, work: () => Promise<T>): Promise<T> {
    const held = this.#find(claim) ?? (await this.#adopt(claim))
    const running = work()
    held.running.add(running)
    try {
      return await running
    } finally {
      held.running.delete(running)
    }
  }

  record(user: string, name: string): TransferRecord | undefined {
    return this.#held.get(recordKey(user, name))?.record
  }

  /** Returns whether the server of a former claim may have the partial file open, because it has not released the upload. */
  mayBeOpen({ user, name, token }: Claim): boolean {
    return this.#held.get(recordKey(user, name))?.released !== token
  }

  /** Resolves with the token of the record in the shared store, or `undefined` if there is none. */
  async presentToken(user: string, name: string): Promise<number | undefined> {
    const record = await this.#member.run(({ transfers }) => transfers.record(user, name))
    return record?.token
  }

  all(): AsyncIterable<TransferRecord> {
    return this.records(undefined)
  }

  /** Returns the records of a user, or of all users, in the shared store. */
  async *records(of: string | undefined): AsyncIterable<TransferRecord> {
    for (let after: Pick<Claim, 'user' | 'name'> | undefined; ; ) {
      const key = after
      const page = await this.#member.run(({ transfers }) => transfers.records(of, key, pageRecords))
      yield* page
      after = page.at(-1)
      if (page.length < pageRecords) return
    }
  }

  /** The tokens of all claims. */
  get tokens(): readonly number[] {
    return Array.from(this.#held.values(), ({ record }) => record.token)
  }

  /**
   * Allows writes under the claim of this record only. Resolves when the writes under an older claim have ended. `released` is
   * the token of the latest claim of this name that was released.
   */
  async grant(record: TransferRecord, released: number): Promise<void> {
    const former = this.#held.get(recordKey(record.user, record.name))
    this.#held.set(recordKey(record.user, record.name), { record, released, running: new Set() })
    await Promise.allSettled(former?.running ?? [])
  }

  /** Updates the record of a claim, if the claim is still valid. */
  update(claim: Claim, change: Partial<TransferRecord>): void {
    const held = this.#find(claim)
    if (held) held.record = { ...held.record, ...change }
  }

  /** Refuses further writes under the claim of an upload. Resolves when those in progress have ended. */
  async drop(user: string, name: string): Promise<void> {
    const held = this.#held.get(recordKey(user, name))
    this.#held.delete(recordKey(user, name))
    await Promise.allSettled(held?.running ?? [])
  }

  /** Ends the claim with this token, and returns it if there is one. */
  end(token: number): Claim | undefined {
    for (const [key, { record }] of this.#held) {
      if (record.token !== token) continue
      this.#held.delete(key)
      return { user: record.user, name: record.name, token }
    }
    return undefined
  }

  #find({ user, name, token }: Claim): HeldClaim | undefined {
    const held = this.#held.get(recordKey(user, name))
    if (held && held.record.token > token) throw endedClaimError({ user, name })
    return held?.record.token === token ? held : undefined
  }

  /** Adds a claim that the shared store has granted and that is not known here yet. Rejects with `superseded` if it has ended. */
  async #adopt(claim: Claim): Promise<HeldClaim> {
    const { user, name } = claim
    this.#member.checkOpen()
    const record = await this.#member.run(({ transfers }) => transfers.record(user, name))
    if (record?.token !== claim.token) throw endedClaimError(claim)
    const held = this.#find(claim) ?? { record, released: 0, running: new Set() }
    this.#held.set(recordKey(user, name), held)
    return held
  }
}
