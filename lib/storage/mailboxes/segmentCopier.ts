import type { Contents } from '../journal/compaction.ts'
import type { Found } from '../journal/journal.ts'
import type { IndexEntry } from './mailbox.ts'
import type { MailboxIndex } from './mailboxIndex.ts'
import {
  fingerprintOf,
  keyOf,
  kinds,
  readIds,
  recipientsOf,
  type SentId,
  senderOf,
  seqOf,
  storedAtOf,
  withRecipients,
  writeIds,
  writeSeqs,
  writeTime,
} from './records.ts'

/** The contents of a journal of messages, by its ledger. */
export function contentsOf(ledger: MailboxIndex): Contents {
  return {
    get liveBytes() {
      return ledger.liveBytes
    },
    move(_segment, found, isLast) {
      const moving = new Moving(ledger)
      for (const each of found) moving.add(each)
      const { records, held } = moving.end(isLast)
      return {
        records,
        moved(placeOf) {
          for (const [index, message] of held) ledger.locate(message, placeOf(index))
        },
      }
    },
    lose: (segment) => ledger.lose(segment),
  }
}

/** Picks what still counts among the records of a segment. */
class Moving {
  readonly #ledger: MailboxIndex
  readonly #records: Buffer[] = []
  readonly #held: [index: number, held: IndexEntry][] = []
  readonly #aside = new Map<string, number[]>()
  readonly #ids = new Map<string, SentId[]>()

  constructor(ledger: MailboxIndex) {
    this.#ledger = ledger
  }

  add(found: Found): void {
    const { record } = found
    if (record[0] === kinds.message) this.#addMessage(found)
    if (record[0] === kinds.ids) {
      const { sender, ids } = readIds(record)
      for (const id of ids) this.#addId(sender, id)
    }
  }

  /** The records, and which of them are those of messages. Their end says how far time has come. */
  end(isLast: boolean): { readonly records: readonly Buffer[]; readonly held: readonly [number, IndexEntry][] } {
    const { lastTime, lastSeq, messagesBefore, idsBefore } = this.#ledger
    for (const [user, seqs] of this.#aside) this.#records.push(writeSeqs('aside', { user, seqs }))
    for (const [sender, ids] of this.#ids) this.#records.push(writeIds(sender, ids))
    if (isLast) this.#records.push(writeTime({ now: lastTime, lastSeq, messagesBefore, idsBefore }))
    return { records: this.#records, held: this.#held }
  }

  #addMessage(found: Found): void {
    const { record } = found
    const seq = seqOf(record)
    const storedAt = storedAtOf(record)
    const all = recipientsOf(record)
    const left =
      storedAt < this.#ledger.messagesBefore ? [] : all.filter((user) => this.#ledger.get(user, seq)?.isAt(found))
    const held = left[0] === undefined ? undefined : this.#ledger.get(left[0], seq)
    if (!held) {
      this.#addId(senderOf(record), { key: keyOf(record), fingerprint: fingerprintOf(record), storedAt })
      return
    }
    this.#held.push([this.#records.length, held])
    this.#records.push(left.length === all.length ? record : withRecipients(record, left))
    for (const user of left) {
      if (this.#ledger.mailbox(user)?.isAside(seq)) add(this.#aside, user, seq)
    }
  }

  #addId(sender: string, id: SentId): void {
    if (id.storedAt < this.#ledger.idsBefore || !this.#ledger.ids.has(sender, id.key)) return
    add(this.#ids, sender, id)
  }
}

function add<T>(lists: Map<string, T[]>, name: string, value: T): void {
  const list = lists.get(name)
  if (list) list.push(value)
  else lists.set(name, [value])
}
