import { OspError } from '../../errors.ts'
import type { MailboxBounds, NewMessage } from '../../ports/mailboxes.ts'
import type { Commits } from '../journal/commits.ts'
import { Held } from './held.ts'
import type { Ledger } from './ledger.ts'
import { bodyOf, keyOf, setFingerprint, writeMessage } from './messageRecord.ts'
import type { Recent } from './recent.ts'

type Crc32 = (bytes: Uint8Array, start?: number) => number

/** The rules of `MailboxStore.append`. */
export class Posting {
  readonly #ledger: Ledger
  readonly #commits: Commits
  readonly #recent: Recent
  readonly #crc32: Crc32
  /** Higher than that of the latest durable message while one is on its way; a seq whose append failed is not used again. */
  #lastSeq: number
  #arrived = new Set<string>()

  constructor(ledger: Ledger, commits: Commits, recent: Recent, crc32: Crc32) {
    this.#ledger = ledger
    this.#commits = commits
    this.#recent = recent
    this.#crc32 = crc32
    this.#lastSeq = ledger.lastSeq
  }

  /** May throw what it would reject with. */
  append(message: NewMessage, recipients: readonly string[], bounds: MailboxBounds): Promise<void> {
    const { sender, storedAt, content } = message
    const { ids } = this.#ledger
    const seq = this.#lastSeq + 1
    const record = writeMessage(seq, message, recipients)
    const key = keyOf(record)
    const fingerprint = this.#crc32(bodyOf(record)) | 0
    setFingerprint(record, fingerprint)
    const known = this.#known(sender, key, fingerprint)
    if (known) return known
    try {
      this.#checkBounds(sender, recipients, content.length, bounds)
    } catch (refusal) {
      throw this.#commits.doubt ?? refusal
    }
    this.#lastSeq = seq
    const held = new Held(seq, storedAt, content.length, record.length)
    for (const user of recipients) this.#ledger.put(user, held)
    const done = this.#commits.add({
      record,
      reserveBytes: bounds.reserveBytes,
      durable: (segment, offset) => {
        ids.confirm(sender, key, fingerprint, storedAt)
        this.#durable(held, segment, offset, record)
        for (const user of recipients) this.#arrived.add(user)
      },
      undo: () => {
        ids.giveUp(sender, key)
        for (const user of recipients) this.#ledger.take(user, seq)
      },
    })
    ids.expect(sender, key, fingerprint, done)
    return done
  }

  /** The users to whom messages have come since this was last asked. */
  arrived(): ReadonlySet<string> {
    const arrived = this.#arrived
    if (arrived.size > 0) this.#arrived = new Set()
    return arrived
  }

  /** What the repetition of a message comes to, if it is one. */
  #known(sender: string, key: string, fingerprint: number): Promise<void> | undefined {
    const ids = this.#ledger.ids.of(sender)
    const pending = ids?.pending.get(key)
    const former = pending?.fingerprint ?? ids?.find(key)
    if (former === undefined) return undefined
    if (former !== fingerprint) throw new OspError('id-reused')
    return pending?.done ?? Promise.resolve()
  }

  #checkBounds(sender: string, recipients: readonly string[], bytes: number, bounds: MailboxBounds): void {
    const { ids, waiting } = this.#ledger
    const own = ids.of(sender)
    if ((own ? own.count + own.pending.size : 0) >= bounds.senderIds || ids.count >= bounds.allIds) {
      throw new OspError('rate-limited', 'too many messages were sent lately; try again later')
    }
    const full =
      waiting + recipients.length > bounds.allMessages
        ? recipients
        : recipients.filter((user) => {
            const mailbox = this.#ledger.mailbox(user)
            const messages = mailbox?.messages ?? 0
            return messages + 1 > bounds.messages || (mailbox?.bytes ?? 0) + bytes > bounds.bytes
          })
    if (full.length > 0) {
      throw new OspError('mailbox-full', `no more messages fit for ${full.join(', ')}`, { recipients: full })
    }
  }

  #durable(held: Held, segment: number, offset: number, record: Buffer): void {
    const ledger = this.#ledger
    ledger.lastSeq = Math.max(ledger.lastSeq, held.seq)
    ledger.lastTime = Math.max(ledger.lastTime, held.storedAt)
    ledger.locate(held, { segment, offset, length: record.length })
    this.#recent.add(held, record)
  }
}
