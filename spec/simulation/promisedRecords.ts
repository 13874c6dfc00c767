import { OspError } from '../../lib/errors.ts'
import type { Checkpoint, Claim, Storage, TransferRecord } from '../../lib/ports/storage.ts'
import { recordKey } from '../../lib/storage/transfers/recordStore.ts'
import type { Bounds } from './bounds.ts'
import type { Invariants } from './invariants.ts'
import type { Trace } from './trace.ts'

/** The check of a storage's records. */
interface RecordParts {
  readonly trace: Trace
  readonly bounds: Bounds
  readonly invariants: Invariants
}

/** The records that a storage has acknowledged: each is as acknowledged, even after a kill. */
export class PromisedRecords {
  readonly #parts: RecordParts
  /** The acknowledged records, by `recordKey`. */
  readonly #said = new Map<string, TransferRecord>()
  /** Records of which bytes before a checkpoint were overwritten or cut off. */
  readonly #rewritten = new Set<string>()
  /** Number of changes in progress per record: after a kill, each may have happened or not. */
  readonly #changing = new Map<string, number>()

  constructor(parts: RecordParts) {
    this.#parts = parts
  }

  /** A record was claimed or changed. */
  claimed(record: TransferRecord): void {
    this.#parts.bounds.kept(record)
    const key = recordKey(record.user, record.name)
    this.#said.set(key, record)
    this.#rewritten.delete(key)
  }

  /** The record of this name was removed. */
  gone({ user, name }: Pick<Claim, 'user' | 'name'>): void {
    this.#said.delete(recordKey(user, name))
  }

  /** Returns the version of a claim, if it is still valid. */
  of({ user, name, token }: Claim): TransferRecord | undefined {
    const record = this.#said.get(recordKey(user, name))
    return record?.token === token ? record : undefined
  }

  /** Executes a change of a record, after which it equals `after`, or is removed. */
  async changed<T>(
    { user, name }: Pick<Claim, 'user' | 'name'>,
    change: () => Promise<T>,
    after: (before: TransferRecord, result: T) => TransferRecord | undefined,
  ): Promise<T> {
    const key = recordKey(user, name)
    this.#changing.set(key, (this.#changing.get(key) ?? 0) + 1)
    try {
      const result = await change()
      const before = this.#said.get(key)
      const record = before && after(before, result)
      if (record) this.claimed(record)
      else this.#said.delete(key)
      return result
    } catch (error) {
      if (OspError.from(error).code !== 'superseded') this.#said.delete(key)
      throw error
    } finally {
      this.#changing.set(key, (this.#changing.get(key) ?? 1) - 1)
    }
  }

  /** Bytes from `offset` are overwritten: later checkpoints are not valid until the next one. */
  rewritten({ user, name }: Claim, offset: number): void {
    const key = recordKey(user, name)
    if (offset < lastOf(this.#said.get(key)?.checkpoints ?? [])) this.#rewritten.add(key)
  }

  /** The storage was opened. */
  async opened(storage: Storage): Promise<void> {
    const found = new Map<string, TransferRecord>()
    for await (const record of storage.transfers.records()) found.set(recordKey(record.user, record.name), record)
    for (const [key, said] of this.#said) {
      if (!this.#changing.get(key) && !this.#rewritten.has(key)) await this.#isThere(storage, said, found.get(key))
    }
    this.#changing.clear()
    this.#rewritten.clear()
    this.#said.clear()
    for (const [key, record] of found) this.#said.set(key, record)
  }

  async #isThere(storage: Storage, said: TransferRecord, found: TransferRecord | undefined): Promise<void> {
    const { user, name, token, verified, checkpoints } = said
    const what = `the record of ${user}/${name}`
    const durable = lastOf(checkpoints)
    if (!found) return this.#parts.trace.fail(`${what} is gone`)
    if (found.token !== token) return this.#parts.trace.fail(`${what} has another token`)
    if (lastOf(found.checkpoints) !== durable)
      return this.#parts.trace.fail(`${what} ends at ${lastOf(found.checkpoints)}, and was durable up to ${durable}`)
    if (verified && !found.verified) return this.#parts.trace.fail(`${what} is not verified any more`)
    // A verified upload may have been published.
    if (durable === 0 || found.verified) return
    const bytes = await leading(storage, said, durable)
    if (bytes.length < durable)
      this.#parts.trace.fail(`${user}/${name} has ${bytes.length} bytes, ${durable} were durable`)
    else if (!this.#parts.invariants.wasSentOf(said, { offset: 0, bytes }))
      this.#parts.trace.fail(`${user}/${name} has other bytes than those that were durable`)
  }
}

const lastOf = (checkpoints: readonly Checkpoint[]): number => checkpoints.at(-1)?.offset ?? 0

/** Returns up to the first `most` bytes of a partial file. */
async function leading(storage: Storage, { user, name, token }: TransferRecord, most: number): Promise<Uint8Array> {
  await using file = await storage.files.open({ user, name, token })
  const bytes = new Uint8Array(Math.min(most, file.length))
  return bytes.subarray(0, await file.read(bytes, 0))
}
