import type { StoredMessage } from '../../ports/mailboxes.ts'
import type { Journal, Place } from '../journal/journal.ts'
import type { IndexEntry } from './mailbox.ts'
import type { MailboxIndex } from './mailboxIndex.ts'
import { storedMessage } from './records.ts'

/** Reads mailboxes. Contents that are not cached come from the journal. */
export class MessageReader {
  readonly #journal: Journal
  readonly #index: MailboxIndex

  constructor(journal: Journal, index: MailboxIndex) {
    this.#journal = journal
    this.#index = index
  }

  /** Implements `MailboxStore.read`. */
  async read(user: string, afterSeq: number, most: number, mostBytes: number): Promise<readonly StoredMessage[]> {
    for (let after = afterSeq; ; ) {
      const page = this.#page(user, after, most, mostBytes)
      const last = page.at(-1)
      if (!last) return []
      const messages = page.every(({ record }) => record)
        ? page.flatMap(({ record }) => (record ? [storedMessage(record)] : []))
        : await this.#fetched(user, page)
      if (messages.length > 0) return messages
      after = last.seq
    }
  }

  #page(user: string, afterSeq: number, most: number, mostBytes: number): IndexEntry[] {
    const page: IndexEntry[] = []
    const mailbox = this.#index.mailbox(user)
    if (!mailbox || most < 1) return page
    let bytes = 0
    for (const entry of mailbox.after(afterSeq)) {
      // Messages that are not durable yet have higher seqs than all durable ones.
      if (!entry.isDurable) break
      if (mailbox.isAside(entry.seq)) continue
      bytes += entry.bytes
      if (page.length > 0 && bytes > mostBytes) break
      if (page.push(entry) >= most) break
    }
    return page
  }

  async #fetched(user: string, page: readonly IndexEntry[]): Promise<StoredMessage[]> {
    const records = new Map<IndexEntry, Buffer>()
    let missing: IndexEntry[] = []
    for (const entry of page) {
      if (entry.record) records.set(entry, entry.record)
      else missing.push(entry)
    }
    while (missing.length > 0) {
      const places = missing.map(({ segment, offset, length }): Place => ({ segment, offset, length }))
      const found = await this.#journal.read(places)
      missing = missing.filter((entry, at) => {
        const record = found[at]
        const place = places[at]
        if (record) records.set(entry, record)
        else if (place && !entry.isAt(place)) return true
        else this.#index.remove(user, entry.seq)
        return false
      })
    }
    return page.flatMap((entry) => {
      const record = records.get(entry)
      // The message may have been removed in the meantime.
      return record && this.#index.get(user, entry.seq) ? [storedMessage(record)] : []
    })
  }
}
