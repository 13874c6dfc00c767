import { OspError } from '../../errors.ts'
import type { TransferRecord } from '../../ports/storage.ts'
import { Fences } from './fences.ts'
import { allRecords, recordKey } from './keys.ts'
import { readRecord } from './rows.ts'
import type { Change, Shelf } from './shelf.ts'

/** No storage gets so far by counting; behind a higher one there would soon be none that a record can hold. */
const mostToken = 2 ** 52

/** What the records and the bytes of uploads share: the shelf while the storage is open, and who may write. */
export class Book {
  readonly fences = new Fences()
  #shelf: Shelf | undefined

  /** The shelf; throws OspError `closed` while the storage is not open. */
  get shelf(): Shelf {
    if (!this.#shelf) throw new OspError('closed', 'the storage is closed; open it first')
    return this.#shelf
  }

  /** Throws OspError `closed` while the storage is not open. */
  checkOpen(): void {
    void this.shelf
  }

  /** The record of an upload; a damaged one counts as none. */
  async record(user: string, name: string): Promise<TransferRecord | undefined> {
    return readRecord(await this.shelf.get(recordKey(user, name)))
  }

  /** Takes up the tokens of all records and removes the damaged ones; tells `seen` about each that stands. */
  async open(shelf: Shelf, seen: (record: TransferRecord) => void): Promise<void> {
    const damaged: Change[] = []
    for await (const [key, text] of shelf.entries(allRecords)) {
      const record = readRecord(text)
      if (!record || record.token > mostToken || key !== recordKey(record.user, record.name)) {
        damaged.push({ key })
        continue
      }
      await this.fences.raise(record.user, record.name, record.token)
      seen(record)
    }
    if (damaged.length > 0) await shelf.write(damaged)
    this.#shelf = shelf
  }

  /** From now on everything is refused. */
  close(): void {
    this.#shelf = undefined
    this.fences.clear()
  }
}
