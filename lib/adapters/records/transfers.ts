import { OspError } from '../../errors.ts'
import { checkFileName, checkUserName } from '../../names.ts'
import type {
  Checkpoint,
  Claim,
  Claimed,
  ClaimOptions,
  NewTransfer,
  Owner,
  StoredFile,
  TransferRecord,
  TransferStore,
} from '../../ports/storage.ts'
import type { Book } from './book.ts'
import { decideClaim } from './claiming.ts'
import { allRecords, recordKey, recordsOf } from './keys.ts'
import { NameTurns } from './nameTurns.ts'
import { Notes } from './notes.ts'
import { KeyedQueues } from './queue.ts'
import { readRecord, writeRecord } from './rows.ts'
import { conflictingRecord, overlaps, type StoredNames } from './storedNames.ts'

/** Records that are kept at hand, so that a checkpoint need not read back what was written last. */
const recordsAtHand = 256

/** With each note that comes at most so many go, so that they can't pile up and none makes the others wait. */
const expiredAtOnce = 4

/** The transfer store over any shelf, beside any store of published files. */
export class Transfers implements TransferStore {
  readonly #book: Book
  readonly #names: StoredNames
  readonly #notes: Notes
  /** Claims of names that collide go one after another, so that the later one finds the record of the earlier. */
  readonly #claims = new NameTurns()
  /** The latest records as they were written, the longest unchanged first. */
  readonly #atHand = new Map<string, TransferRecord>()
  /** What reads a record and writes it back, one after another for each upload. */
  readonly #changes = new KeyedQueues()

  constructor(book: Book, names: StoredNames, wallTime: () => number) {
    this.#book = book
    this.#names = names
    this.#notes = new Notes(book, names, wallTime)
  }

  claim(want: NewTransfer, owner: Owner, options: ClaimOptions): Promise<Claimed> {
    const { user, name } = want
    const collides = (other: string) => this.#names.foldsCase || overlaps(name, other) || overlaps(other, name)
    const claim = () => this.#claim(want, owner, options)
    return this.#change(want, () => this.#claims.run(user, name, collides, claim))
  }

  async checkpoint(claim: Claim, checkpoints: readonly Checkpoint[], at: number): Promise<void> {
    await this.#rewrite(claim, (record) => ({ ...record, checkpoints, updatedAt: at }))
  }

  async verified(claim: Claim, file: StoredFile): Promise<void> {
    await this.#rewrite(claim, (record) => ({ ...record, verified: file }))
  }

  async complete(claim: Claim, keepNoteMs: number): Promise<void> {
    await this.#removeExpiredNotes()
    await this.#change(claim, async () => {
      await this.#book.fences.guard(claim, async () => {
        const { verified, modifiedAt } = await this.#record(claim)
        if (!verified) throw new OspError('internal', `the upload ${claim.name} of ${claim.user} is not verified`)
        const note = await this.#notes.changesFor(verified, modifiedAt, keepNoteMs)
        const key = recordKey(claim.user, claim.name)
        this.#atHand.delete(key)
        await this.#book.shelf.write([{ key }, ...note])
      })
      await this.#book.fences.drop(claim.user, claim.name)
    })
  }

  remove(user: string, name: string): Promise<boolean> {
    return this.#change({ user, name }, () => this.#drop(user, name))
  }

  expire(user: string, name: string, before: number): Promise<TransferRecord | undefined> {
    return this.#change({ user, name }, async () => {
      const record = await this.#book.record(user, name)
      if (!record || record.verified || record.updatedAt >= before) return undefined
      await this.#drop(user, name)
      return record
    })
  }

  forget(user: string, name: string): Promise<void> {
    return this.#change({ user, name }, () => this.#notes.remove(user, name))
  }

  completed(want: NewTransfer): Promise<StoredFile | undefined> {
    return this.#change(want, () => this.#notes.completed(want))
  }

  async *records(user?: string): AsyncIterable<TransferRecord> {
    const range = user === undefined ? allRecords : recordsOf(checkUserName(user))
    for await (const [, text] of this.#book.shelf.entries(range)) {
      const record = readRecord(text)
      if (record) yield record
    }
  }

  async #claim(want: NewTransfer, owner: Owner, options: ClaimOptions): Promise<Claimed> {
    const user = checkUserName(want.user)
    const name = checkFileName(want.name)
    const decision = await decideClaim(
      want,
      owner,
      options,
      {
        record: await this.#book.record(user, name),
        completed: () => this.#notes.completed(want),
        stored: () => this.#names.stored(user, name),
        conflict: async () =>
          (await this.#names.conflict(user, name)) ??
          (await conflictingRecord(this.#book.shelf, user, name, this.#names.foldsCase)),
      },
      { token: this.#book.fences.next(), updatedAt: options.at },
    )
    if ('completed' in decision) {
      if (await this.#drop(user, name)) await this.#names.dropPartial(user, name)
      return decision
    }
    const { record, anew } = decision
    // Before the record, so that no write of the older claim can end after this one is granted.
    await this.#book.fences.raise(user, name, record.token)
    await this.#put(record)
    // After the record, so that a crash between leaves bytes without a checkpoint, never the reverse.
    if (anew) await this.#names.dropPartial(user, name)
    return { claim: { user, name, token: record.token }, record }
  }

  async #drop(user: string, name: string): Promise<boolean> {
    const key = recordKey(user, name)
    const there = (await this.#book.shelf.get(key)) !== undefined
    this.#atHand.delete(key)
    await this.#book.fences.drop(user, name)
    if (there) await this.#book.shelf.write([{ key }])
    return there
  }

  async #removeExpiredNotes(): Promise<void> {
    for (const subject of await this.#notes.expired(expiredAtOnce)) {
      await this.#change(subject, () => this.#notes.removeExpired(subject.user, subject.name))
    }
  }

  #rewrite(claim: Claim, next: (record: TransferRecord) => TransferRecord): Promise<void> {
    return this.#change(claim, () =>
      this.#book.fences.guard(claim, async () => {
        await this.#put(next(await this.#record(claim)))
      }),
    )
  }

  async #record({ user, name }: Claim): Promise<TransferRecord> {
    const record = this.#atHand.get(recordKey(user, name)) ?? (await this.#book.record(user, name))
    if (!record) throw new OspError('internal', `the record of the upload ${name} of ${user} is damaged`)
    return record
  }

  async #put(record: TransferRecord): Promise<void> {
    const key = recordKey(record.user, record.name)
    // A write that fails may have been done or not: only what is read then is sure.
    this.#atHand.delete(key)
    await this.#book.shelf.write([{ key, value: writeRecord(record) }])
    this.#atHand.set(key, record)
    const [oldest] = this.#atHand.keys()
    if (this.#atHand.size > recordsAtHand && oldest !== undefined) this.#atHand.delete(oldest)
  }

  #change<T>(subject: { user: string; name: string }, work: () => Promise<T>): Promise<T> {
    return this.#changes.run(recordKey(subject.user, subject.name), () => {
      this.#book.checkOpen()
      return work()
    })
  }
}
