import { crc32 } from 'node:zlib'
import type { MemoryJournal } from '../../lib/adapters/memory/memoryJournal.ts'
import { keyOf, recipientsOf, recordKinds, senderOf, seqOf } from '../../lib/storage/mailboxes/records.ts'
import { recordKey } from '../../lib/storage/transfers/recordStore.ts'
import { type Row, readRow } from '../../lib/storage/transfers/rows.ts'
import type { SeededRandom } from '../support/random.ts'
import { keyOf as postKeyOf } from './post.ts'

/** A record of a journal in memory, and its place. */
interface RecordPlace {
  readonly records: Buffer[]
  readonly at: number
  readonly record: Buffer
}

/** Returns the `recordKey` of the upload of a row. */
export function keyOfRow({ value }: Row): string {
  const { user, name } = 'file' in value ? value.file : value
  return recordKey(user, name)
}

const hasPost = ([kind]: Buffer) => kind === recordKinds.message || kind === recordKinds.asking

/** Flipped bits in a journal, and the checksums by which a reader detects them. */
export class JournalRot {
  /** The checksum of each record, as written. */
  readonly #sums = new WeakMap<Buffer, number>()
  /** Keys of the posts whose record is damaged. */
  readonly #posts = new Set<string>()
  /** `recordKey` of the uploads with a damaged row. */
  readonly #uploads = new Set<string>()
  /** `user place` of the messages with a damaged record. */
  readonly #places = new Set<string>()

  written(records: readonly Buffer[]): void {
    for (const record of records) this.#sums.set(record, crc32(record))
  }

  /** Returns whether a record is as it was written. */
  isReadable(record: Buffer): boolean {
    const sum = this.#sums.get(record)
    return sum === undefined || sum === crc32(record)
  }

  /**
   * Flips a bit of a random message, except the latest, whose place would be reused. Returns the message, if there is
   * one.
   */
  flipMessage(journal: MemoryJournal, random: SeededRandom): string | undefined {
    const record = this.#flip(journal, random, hasPost)
    if (!record) return undefined
    const key = postKeyOf(senderOf(record), Buffer.from(keyOf(record), 'latin1'))
    this.#posts.add(key)
    for (const user of recipientsOf(record)) this.#places.add(`${user} ${seqOf(record)}`)
    return key
  }

  /** Flips a bit of a random row of an upload, or of each row of it. Returns its `recordKey`, or `undefined` without rows. */
  flipRow(journal: MemoryJournal, random: SeededRandom): string | undefined {
    const record = this.#flip(journal, random, () => true)
    const row = record && readRow(record)
    if (!row) return undefined
    const key = keyOfRow(row)
    this.#uploads.add(key)
    if (random.chance(0.5, 'every row of an upload is hit')) {
      for (const place of this.#readable(journal)) {
        const other = readRow(place.record)
        if (other && keyOfRow(other) === key) this.#damage(place, random)
      }
    }
    return key
  }

  #flip(journal: MemoryJournal, random: SeededRandom, isMeant: (record: Buffer) => boolean): Buffer | undefined {
    const meant = this.#readable(journal).filter(({ record }) => isMeant(record))
    meant.pop()
    if (meant.length === 0) return undefined
    const place = random.pick(meant, 'a record')
    this.#damage(place, random)
    return place.record
  }

  #readable(journal: MemoryJournal): RecordPlace[] {
    return journal.segments.flatMap(({ records }) =>
      records.flatMap((record, at) => (this.isReadable(record) ? [{ records, at, record }] : [])),
    )
  }

  #damage({ records, at, record }: RecordPlace, random: SeededRandom): void {
    const damaged = Buffer.from(record)
    const byte = random.integer(0, damaged.length - 1, 'where a bit flips')
    damaged[byte] = (damaged[byte] ?? 0) ^ (1 << random.integer(0, 7, 'a bit'))
    this.#sums.set(damaged, this.#sums.get(record) ?? crc32(record))
    records[at] = damaged
  }

  /** Returns whether the guarantees for this post need not hold. */
  hasHit(key: string): boolean {
    return this.#posts.has(key)
  }

  hasHitPlace(user: string, place: number): boolean {
    return this.#places.has(`${user} ${place}`)
  }

  /** Returns the number of messages of a user with a damaged record. */
  lostOf(user: string): number {
    return [...this.#places].filter((place) => place.startsWith(`${user} `)).length
  }

  /** Returns whether the record of this upload may be lost, by its `recordKey`. */
  hasHitUpload(key: string): boolean {
    return this.#uploads.has(key)
  }

  get anyUpload(): boolean {
    return this.#uploads.size > 0
  }

  get any(): boolean {
    return this.#posts.size > 0
  }
}
