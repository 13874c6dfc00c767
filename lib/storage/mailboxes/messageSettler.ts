import { receiptMailbox } from '../../names.ts'
import type { Settlement } from '../../ports/mailboxes.ts'
import type { Platform } from '../../ports/platform.ts'
import { digestOfParts } from '../../runtime/incrementalDigest.ts'
import { encodeBody } from '../../wire/messageBody.ts'
import { receiptStates } from '../../wire/protocol.ts'
import type { JournalWriter } from '../journal/journalWriter.ts'
import { IndexEntry } from './mailbox.ts'
import type { MailboxIndex } from './mailboxIndex.ts'
import { idOfKey, writeReceipt, writeSeqs } from './records.ts'

const utf8 = new TextEncoder()

export interface MessageSettlerOptions {
  readonly index: MailboxIndex
  readonly writer: JournalWriter
  readonly platform: Platform
  /** Returns the seq of the next message. */
  readonly nextSeq: () => number
  /** Called when receipts of a user are durable. */
  readonly appended: (user: string) => void
}

/** A message that leaves its mailbox. */
interface Leaving {
  readonly entry: IndexEntry
  readonly wasAside: boolean
  /** As `Mailbox.rejection`. */
  readonly rejection: string | undefined
}

/** Messages of `user` that are removed or set aside. */
interface Change {
  readonly user: string
  readonly leaving: readonly Leaving[]
  readonly kind: 'removed' | 'aside'
  readonly how: Settlement
  /** The time of the age clock. */
  readonly time: number
  readonly mayWait: boolean
}

/** A receipt that is in the index and not yet durable. */
interface NewReceipt {
  readonly owner: string
  readonly entry: IndexEntry
  readonly record: Buffer
}

/** Removes messages from mailboxes or sets them aside, and appends the receipts of their senders in the same step. */
export class MessageSettler {
  readonly #options: MessageSettlerOptions

  constructor(options: MessageSettlerOptions) {
    this.#options = options
  }

  /** Implements `MailboxStore.remove`. `time` is the time of the age clock. */
  async remove(
    user: string,
    seqs: readonly number[],
    how: Settlement,
    mayWait = false,
    time = this.#options.index.lastTime,
  ): Promise<void> {
    const { index } = this.#options
    const mailbox = index.mailbox(user)
    const leaving = seqs.flatMap((seq) => {
      const wasAside = mailbox?.isAside(seq) ?? false
      const rejection = mailbox?.rejection(seq)
      const entry = index.remove(user, seq)
      return entry ? [{ entry, wasAside, rejection }] : []
    })
    await this.#store({ user, leaving, kind: 'removed', how, time, mayWait })
  }

  /** Implements `MailboxStore.setAside`. */
  async setAside(user: string, seqs: readonly number[], results: Settlement['results']): Promise<void> {
    const { index } = this.#options
    const mailbox = index.mailbox(user)
    const leaving: Leaving[] = []
    for (const seq of seqs) {
      const entry = mailbox?.get(seq)
      if (!entry || mailbox?.isAside(seq)) continue
      const rejection = mailbox?.rejection(seq)
      index.setAside(user, seq)
      leaving.push({ entry, wasAside: false, rejection })
    }
    const how = { state: 'rejected', results } as const
    await this.#store({ user, leaving, kind: 'aside', how, time: index.lastTime, mayWait: false })
  }

  async #store({ mayWait, ...change }: Change): Promise<void> {
    const { user, leaving, kind } = change
    const { index, writer, appended } = this.#options
    const receipts: NewReceipt[] = []
    const seqs: number[] = []
    for (const { entry, wasAside } of leaving) {
      const { askingId } = entry
      if (askingId === undefined || wasAside) seqs.push(entry.seq)
      else receipts.push(this.#receipt(entry, askingId, change))
    }
    const records = receipts.map(({ record }) => record)
    await writer.add({
      frees: true,
      mayWait,
      records: seqs.length > 0 ? [...records, writeSeqs(kind, { user, seqs })] : records,
      durable(places) {
        for (const [at, { entry }] of receipts.entries()) {
          const place = places[at]
          if (!place) continue
          index.locate(entry, place)
          index.lastSeq = Math.max(index.lastSeq, entry.seq)
          index.lastTime = Math.max(index.lastTime, entry.storedAt)
        }
        for (const owner of new Set(receipts.map((receipt) => receipt.owner))) appended(owner)
      },
      undo() {
        for (const { owner, entry } of receipts) index.remove(receiptMailbox(owner), entry.seq)
        for (const { entry, wasAside, rejection } of leaving) {
          if (kind === 'removed') index.add(user, entry)
          index.setAside(user, entry.seq, wasAside)
          index.reject(user, entry.seq, rejection)
        }
      },
    })
  }

  /** Adds the receipt of a message to the index. */
  #receipt({ seq, sender }: IndexEntry, key: string, { user, kind, how, time: storedAt }: Omit<Change, 'mayWait'>) {
    const { index, platform, nextSeq } = this.#options
    const messageId = idOfKey(key)
    const at = Math.max(0, Math.floor(platform.clock.wallTime()))
    const state = receiptStates[how.state]
    const result = utf8.encode(how.results?.get(seq) ?? '')
    const content = encodeBody({ receipt: { messageId, recipient: user, state, at } }, result)
    const names = [utf8.encode(sender), Uint8Array.of(0), messageId, utf8.encode(user)]
    const id = digestOfParts(platform.digests, 'sha256', names).subarray(0, 16)
    const ownSeq = nextSeq()
    const mailbox = receiptMailbox(sender)
    const settled = { seq, isAside: kind === 'aside' }
    const record = writeReceipt(ownSeq, { sender, id, sentAt: at, storedAt, content }, mailbox, settled)
    const entry = new IndexEntry(ownSeq, index.nameOf(sender), storedAt, content.length, record.length)
    index.add(mailbox, entry)
    return { owner: sender, entry, record }
  }
}
