import { OspError } from '../../errors.ts'
import type { Damage } from '../../ports/mailboxes.ts'
import type { Claim, TransferRecord } from '../../ports/storage.ts'
import type { UploadLog } from './uploadLog.ts'

/** Returns one text for a user and a name. Neither can contain a NUL. */
export const recordKey = (user: string, name: string): string => `${user}\0${name}`

/** Returns the user and the name of a key. */
export function subjectOf(key: string): { user: string; name: string } {
  const [user = '', name = ''] = key.split('\0')
  return { user, name }
}

/** Returns the names of the folders of `name`: `a` and `a/b` for `a/b/c`. */
export function ancestorsOf(name: string): string[] {
  const parts = name.split('/')
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'))
}

/** The records of uploads, as a store of files needs them. */
export interface ClaimGuard {
  /** Throws OspError `closed` while the storage is not open. */
  checkOpen(): void
  /** Runs `work` if the claim is valid; otherwise rejects with OspError `superseded`. */
  guard<T>(claim: Claim, work: () => Promise<T>): Promise<T>
  /** Returns the record of a guarded claim. */
  record(user: string, name: string): TransferRecord | undefined
  /** Returns the records of all uploads. */
  all(): AsyncIterable<TransferRecord> | Iterable<TransferRecord>
}

/** Returns the error of a claim that is no longer valid. */
export const endedClaimError = ({ user, name }: Pick<Claim, 'user' | 'name'>): OspError =>
  new OspError('superseded', `the upload ${name} of ${user} has been taken over or removed`)

interface Fence {
  token: number
  readonly running: Set<Promise<unknown>>
}

/** The state that records and bytes of uploads share: the open log, and the only token that may write each record. */
export class RecordStore implements ClaimGuard {
  /** Damage found while the storage was opened, in addition to the damage in the log. */
  readonly damages: Damage[] = []
  readonly #fences = new Map<string, Fence>()
  #highest = 0
  #log: UploadLog | undefined

  /** Returns the log. Throws OspError `closed` while the storage is not open. */
  get log(): UploadLog {
    if (!this.#log) throw new OspError('closed', 'the storage is closed; open it first')
    return this.#log
  }

  /** Throws OspError `closed` while the storage is not open. */
  checkOpen(): void {
    void this.log
  }

  record(user: string, name: string): TransferRecord | undefined {
    return this.log.record(user, name)
  }

  all(): Iterable<TransferRecord> {
    return this.log.records()
  }

  async open(log: UploadLog): Promise<void> {
    for (const { user, name, token } of log.records()) await this.raise(user, name, token)
    this.#log = log
  }

  /** Refuses all further calls, and all claims, but keeps the highest token. Resolves when earlier calls have ended. */
  async close(): Promise<void> {
    const log = this.#log
    this.#log = undefined
    this.damages.length = 0
    this.#fences.clear()
    await log?.close()
  }

  /** A token above all earlier ones. */
  get nextToken(): number {
    return this.#highest + 1
  }

  /** Runs `work` if the claim is valid; otherwise rejects with OspError `superseded`. */
  async guard<T>(claim: Claim, work: () => Promise<T>): Promise<T> {
    const fence = this.#fences.get(recordKey(claim.user, claim.name))
    if (fence?.token !== claim.token) throw endedClaimError(claim)
    const running = work()
    fence.running.add(running)
    try {
      return await running
    } finally {
      fence.running.delete(running)
    }
  }

  /** Allows writes with `token` only. Resolves when the writes with an older token have ended. */
  async raise(user: string, name: string, token: number): Promise<void> {
    const key = recordKey(user, name)
    const fence = this.#fences.get(key) ?? { token, running: new Set() }
    this.#fences.set(key, fence)
    fence.token = token
    this.#highest = Math.max(this.#highest, token)
    await Promise.allSettled(fence.running)
  }

  /** Refuses all writes. Resolves when the present ones have ended. */
  async drop(user: string, name: string): Promise<void> {
    const key = recordKey(user, name)
    const fence = this.#fences.get(key)
    this.#fences.delete(key)
    await Promise.allSettled(fence?.running ?? [])
  }

  /** Whether a claim of this upload was granted. */
  isClaimed(user: string, name: string): boolean {
    return this.#fences.size > 0 && this.#fences.has(recordKey(user, name))
  }
}
