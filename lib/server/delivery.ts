import { Queue } from '../core/queue.ts'
import { OspError } from '../errors.ts'
import { fixed, type Limits } from '../limits.ts'
import type { Log } from '../ports/log.ts'
import type { MailboxStore, StoredMessage } from '../ports/mailboxes.ts'
import type { Clock } from '../ports/platform.ts'
import { Alarm } from '../runtime/alarm.ts'
import type { Message } from '../wire/message.ts'
import type { Caller } from './app.ts'
import { type Sent, SentMessages } from './sentMessages.ts'

/** What a delivery needs of the mailroom. */
export interface DeliveryHost {
  readonly mailboxes: MailboxStore
  readonly limits: Limits
  readonly clock: Clock
  readonly log: Log
  /** What was in a mailbox up to here when the server started may have been delivered before. */
  readonly oldSeq: number
  /** Puts the delivery at the tail of the sending work. */
  ready(delivery: Delivery): void
  /** Bytes of content are held in memory for a socket to take; negative: no more. */
  hold(bytes: number): void
  /** Whether more may be read into memory. Where not, `ready` follows once it may. */
  mayRead(delivery: Delivery): boolean
}

const longestAttempt = 0xff

/**
 * The way of one mailbox's messages to the one who has registered for them: in order, at most so many counted from the oldest
 * unanswered one, each removed when it was acknowledged (docs/protocol.md, "Messages", Receiving).
 */
export class Delivery {
  readonly user: string
  readonly #caller: Caller
  readonly #host: DeliveryHost
  /** How often a message was sent on earlier links of the user, where it was and is unanswered. */
  readonly #attempts: Map<number, number>
  /** Read and not sent. */
  readonly #read = new Queue<StoredMessage>()
  readonly #sent: SentMessages
  #lastRead = 0
  /** There may be more in the mailbox than was read. */
  #more = true
  #reading = false
  /** Acknowledged, to be removed together. */
  #acknowledged: Sent[] = []
  #removing = false
  #ended = false
  readonly #alarm: Alarm

  constructor(caller: Caller, attempts: Map<number, number>, host: DeliveryHost) {
    this.user = caller.user
    this.#caller = caller
    this.#attempts = attempts
    this.#host = host
    this.#sent = new SentMessages(host.limits.deliveryWindow, host.limits.deliveryBytes)
    this.#alarm = new Alarm(host.clock, () => host.ready(this))
  }

  /** Something was put into the mailbox. */
  appended(): void {
    if (this.#more) return
    this.#more = true
    this.#host.ready(this)
  }

  /** Sends one message, or sends one again. Returns whether there is another one to send at once. */
  turn(): boolean {
    if (this.#ended) return false
    const overdue = this.#sent.overdue(this.#host.clock.now())
    if (overdue) void this.#repeat(overdue)
    else if (this.#sent.hasRoom) this.#sendNext()
    this.#arm()
    if (this.#read.length === 0) void this.#fill()
    return this.#sent.hasRoom && this.#read.length > 0
  }

  /** The link has ended. Returns how often what is unanswered was sent. */
  end(): Map<number, number> {
    this.#ended = true
    this.#alarm.stop()
    for (let unsent = this.#read.shift(); unsent; unsent = this.#read.shift()) this.#host.hold(-unsent.content.length)
    for (const sent of this.#sent) {
      this.#left(sent)
      if (sent.removed) this.#attempts.delete(sent.seq)
      else this.#attempts.set(sent.seq, sent.attempt)
    }
    return this.#attempts
  }

  #sendNext(): void {
    const message = this.#read.shift()
    if (!message) return
    const { seq, content } = message
    const attempt = this.#attemptOf(seq)
    const { length: bytes } = content
    const sent = { seq, bytes, request: 0, attempt, held: bytes, dueAt: 0, removed: false }
    this.#sent.add(sent)
    this.#hand(sent, (left) => {
      const asked = this.#caller.ask(requestOf(message, attempt), left)
      sent.request = asked.seq
      asked.reply.then(
        (ack) => this.#answered(sent, ack),
        (why: unknown) => this.#refused(sent, OspError.from(why)),
      )
      return true
    })
  }

  /** What was sent before, on an earlier link or by an earlier run of the server, was perhaps seen. */
  #attemptOf(seq: number): number {
    const before = this.#attempts.get(seq) ?? (seq <= this.#host.oldSeq ? 1 : 0)
    return Math.min(before + 1, longestAttempt)
  }

  async #repeat(sent: Sent): Promise<void> {
    // Until it has been read: another turn must not do the same.
    sent.dueAt = Number.POSITIVE_INFINITY
    const [message] = await this.#readFrom(sent.seq - 1, 1)
    if (this.#ended || sent.removed || message?.seq !== sent.seq) return
    sent.attempt = Math.min(sent.attempt + 1, longestAttempt)
    this.#left(sent)
    sent.held = sent.bytes
    this.#host.hold(sent.held)
    this.#hand(sent, (left) => this.#caller.repeat(sent.request, requestOf(message, sent.attempt), left))
    this.#arm()
  }

  #hand(sent: Sent, send: (left: () => void) => boolean): void {
    const { limits, clock } = this.#host
    const waitMs = Math.min(limits.deliveryMs * 2 ** (sent.attempt - 1), fixed.mostTimeoutMs)
    sent.dueAt = clock.now() + Math.max(waitMs, limits.deliveryMs)
    if (!send(() => this.#left(sent))) this.#left(sent)
  }

  #left(sent: Sent): void {
    this.#host.hold(-sent.held)
    sent.held = 0
  }

  #answered(sent: Sent, { mailboxSeq }: Message<'DeliverMsgAck'>): void {
    if (mailboxSeq !== sent.seq) {
      void this.#caller.close(new OspError('malformed', `message ${sent.seq} was acknowledged as ${mailboxSeq}`))
      return
    }
    this.#settle(sent)
    this.#acknowledged.push(sent)
    void this.#remove()
  }

  #refused(sent: Sent, why: OspError): void {
    if (this.#ended || this.#caller.open === false) return
    this.#settle(sent)
    const { log, mailboxes } = this.#host
    log({ level: 'warn', event: 'message-given-up', user: this.user, seq: sent.seq, text: why.message })
    void this.#durably('setting a message aside', () => mailboxes.setAside(this.user, [sent.seq]), [sent])
  }

  #settle(sent: Sent): void {
    sent.dueAt = Number.POSITIVE_INFINITY
    this.#left(sent)
  }

  /** Removes what was acknowledged, all that came meanwhile at once. */
  async #remove(): Promise<void> {
    if (this.#removing) return
    this.#removing = true
    // What arrives together is acknowledged together.
    await Promise.resolve()
    while (this.#acknowledged.length > 0) {
      const group = this.#acknowledged
      this.#acknowledged = []
      const seqs = group.map(({ seq }) => seq)
      await this.#durably('removing messages', () => this.#host.mailboxes.remove(this.user, seqs), group)
    }
    this.#removing = false
  }

  /** Only what is durably gone makes room in the window: so a client need not remember more than the window. */
  async #durably(doing: string, act: () => Promise<void>, group: readonly Sent[]): Promise<void> {
    try {
      await act()
    } catch (error) {
      // They stay in the mailbox, and in the window: whoever registers next is sent them again.
      const { message: text } = OspError.from(error)
      this.#host.log({ level: 'error', event: 'mailbox-failed', user: this.user, text: `${doing}: ${text}` })
      await this.#caller.close(new OspError('internal'))
      return
    }
    for (const sent of group) {
      sent.removed = true
      this.#attempts.delete(sent.seq)
    }
    this.#sent.settle()
    if (!this.#ended) this.#host.ready(this)
  }

  async #fill(): Promise<void> {
    if (this.#reading || !this.#more || !this.#host.mayRead(this)) return
    this.#reading = true
    this.#more = false
    const messages = await this.#readFrom(this.#lastRead, this.#host.limits.deliveryWindow)
    this.#reading = false
    if (this.#ended) return
    for (const message of messages) {
      this.#host.hold(message.content.length)
      this.#read.push(message)
      this.#lastRead = message.seq
      this.#more = true
    }
    if (this.#more) this.#host.ready(this)
  }

  async #readFrom(afterSeq: number, most: number): Promise<readonly StoredMessage[]> {
    try {
      return await this.#host.mailboxes.read(this.user, afterSeq, most, this.#host.limits.deliveryBytes)
    } catch (error) {
      const { message: text } = OspError.from(error)
      this.#host.log({ level: 'error', event: 'mailbox-failed', user: this.user, text: `reading: ${text}` })
      await this.#caller.close(new OspError('internal'))
      return []
    }
  }

  #arm(): void {
    this.#alarm.by(this.#sent.dueAt)
  }
}

function requestOf({ id: messageId, seq, sender, sentAt, content }: StoredMessage, attempt: number) {
  return { event: 'DeliverMsgReq', messageId, mailboxSeq: seq, sender, sentAt, content, attempt } as const
}
