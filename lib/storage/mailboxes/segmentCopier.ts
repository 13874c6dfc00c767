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

/** Returns the contents of a journal of messages, by its index. */
export function contentsOf(index: MailboxIndex): Contents {
  return {
    get liveBytes() {
      return index.liveBytes
    },
    move(_segment, found, isLast) {
      const copier = new SegmentCopier(index)
      for (const each of found) copier.add(each)
      const { records, messages } = copier.end(isLast)
      return {
        records,
        moved(placeOf) {
          for (const [position, message] of messages) index.locate(message, placeOf(position))
        },
      }
    },
    removeSegment: (segment) => index.removeSegment(segment),
  }
}

/** Selects the live records of a segment. */
class SegmentCopier {
  readonly #index: MailboxIndex
  readonly #records: Buffer[] = []
  readonly #messages: [position: number, entry: IndexEntry][] = []
  readonly #aside = new Map<string, number[]>()
  readonly #ids = new Map<string, SentId[]>()

  constructor(index: MailboxIndex) {
    this.#index = index
  }

  add(found: Found): void {
    const { record } = found
    if (record[0] === kinds.message) this.#addMessage(found)
    if (record[0] === kinds.ids) {
      const { sender, ids } = readIds(record)
      for (const id of ids) this.#addId(sender, id)
    }
  }

  /**
   * Returns the records to append, with the positions of those that are messages. After the last records of a segment
   * comes the time.
   */
  end(isLast: boolean): { readonly records: readonly Buffer[]; readonly messages: readonly [number, IndexEntry][] } {
    const { lastTime, lastSeq, messagesBefore, idsBefore } = this.#index
    for (const [user, seqs] of this.#aside) this.#records.push(writeSeqs('aside', { user, seqs }))
    for (const [sender, ids] of this.#ids) this.#records.push(writeIds(sender, ids))
    if (isLast) this.#records.push(writeTime({ now: lastTime, lastSeq, messagesBefore, idsBefore }))
    return { records: this.#records, messages: this.#messages }
  }

  #addMessage(found: Found): void {
    const { record } = found
    const seq = seqOf(record)
    const storedAt = storedAtOf(record)
    const all = recipientsOf(record)
    const left =
      storedAt < this.#index.messagesBefore ? [] : all.filter((user) => this.#index.get(user, seq)?.isAt(found))
    const entry = left[0] === undefined ? undefined : this.#index.get(left[0], seq)
    if (!entry) {
      this.#addId(senderOf(record), { key: keyOf(record), fingerprint: fingerprintOf(record), storedAt })
      return
    }
    this.#messages.push([this.#records.length, entry])
    this.#records.push(left.length === all.length ? record : withRecipients(record, left))
    for (const user of left) {
      if (this.#index.mailbox(user)?.isAside(seq)) add(this.#aside, user, seq)
    }
  }

  #addId(sender: string, id: SentId): void {
    if (id.storedAt < this.#index.idsBefore || !this.#index.ids.has(sender, id.key)) return
    add(this.#ids, sender, id)
  }
}

function add<T>(lists: Map<string, T[]>, name: string, value: T): void {
  const list = lists.get(name)
  if (list) list.push(value)
  else lists.set(name, [value])
}
