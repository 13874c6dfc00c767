import type { StoredMessage } from '../../ports/mailboxes.ts'
import type { Journal, Place } from '../journal/journal.ts'
import type { IndexEntry } from './mailbox.ts'
import type { MailboxIndex } from './mailboxIndex.ts'
import { storedMessage } from './records.ts'

/** Reads mailboxes: contents that are not at hand come from the journal. */
export class MessageReader {
  readonly #journal: Journal
  readonly #ledger: MailboxIndex

  constructor(journal: Journal, ledger: MailboxIndex) {
    this.#journal = journal
    this.#ledger = ledger
  }

  /** `MailboxStore.read`. */
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
    const mailbox = this.#ledger.mailbox(user)
    if (!mailbox || most < 1) return page
    let bytes = 0
    for (const held of mailbox.behind(afterSeq)) {
      // What is not durable yet has higher seqs than all that is.
      if (!held.isDurable) break
      if (mailbox.isAside(held.seq)) continue
      bytes += held.bytes
      if (page.length > 0 && bytes > mostBytes) break
      if (page.push(held) >= most) break
    }
    return page
  }

  async #fetched(user: string, page: readonly IndexEntry[]): Promise<StoredMessage[]> {
    const records = new Map<IndexEntry, Buffer>()
    let missing: IndexEntry[] = []
    for (const held of page) {
      if (held.record) records.set(held, held.record)
      else missing.push(held)
    }
    while (missing.length > 0) {
      const places = missing.map(({ segment, offset, length }): Place => ({ segment, offset, length }))
      const found = await this.#journal.read(places)
      missing = missing.filter((held, at) => {
        const record = found[at]
        const place = places[at]
        if (record) records.set(held, record)
        else if (place && !held.isAt(place)) return true
        else this.#ledger.take(user, held.seq)
        return false
      })
    }
    return page.flatMap((held) => {
      const record = records.get(held)
      // It may have been removed in the meantime.
      return record && this.#ledger.get(user, held.seq) ? [storedMessage(record)] : []
    })
  }
}
