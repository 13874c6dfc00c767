import { Queue } from '../../core/queue.ts'
import { OspError } from '../../errors.ts'
import type { StoredMessage } from '../../ports/mailboxes.ts'
import { Alarm } from '../../runtime/alarm.ts'
import type { Message } from '../../wire/message.ts'
import type { Connection } from '../app.ts'
import { linkOf } from '../serverLog.ts'
import type { DeliveryHost } from './deliveryHost.ts'
import { deliveryRequest } from './deliveryRequest.ts'
import { answerMs, InFlightWindow, type Sent } from './inFlightWindow.ts'

const longestAttempt = 0xff

/**
 * The way of one mailbox's messages to the one who has registered for them: in order, at most so many counted from the oldest
 * unanswered one, each removed when it was acknowledged (docs/protocol.md, "Messages", Receiving).
 */
export class Delivery {
  readonly user: string
  readonly #caller: Connection
  readonly #host: DeliveryHost
  /** How often a message was sent on earlier links of the user, where it was and is unanswered. */
  readonly #attempts: Map<number, number>
  /** Read and not sent. */
  readonly #read = new Queue<StoredMessage>()
  readonly #sent: InFlightWindow
  /** Bytes of content in memory that the socket has not taken. */
  heldBytes = 0
  #lastRead = 0
  /** There may be more in the mailbox than was read. */
  #more = true
  #reading = false
  /** Acknowledged, to be removed together. */
  #acknowledged: Sent[] = []
  #removing = false
  #ended = false
  readonly #alarm: Alarm

  constructor(caller: Connection, attempts: Map<number, number>, host: DeliveryHost) {
    this.user = caller.user
    this.#caller = caller
    this.#attempts = attempts
    this.#host = host
    this.#sent = new InFlightWindow(host.limits.deliveryWindow, host.limits.deliveryBytes)
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
    const starved = overdue !== undefined && this.#host.mayRead(this) === 'none'
    if (overdue && !starved) void this.#repeat(overdue)
    else if (this.#sent.room.messages > 0) this.#sendNext()
    if (!starved && !this.#ended) this.#alarm.by(this.#sent.dueAt)
    if (this.#read.length === 0) void this.#fill()
    return this.#sent.room.messages > 0 && this.#read.length > 0
  }

  /** The link has ended. Returns how often what is unanswered was sent. */
  end(): Map<number, number> {
    this.#ended = true
    this.#alarm.stop()
    const unsent = new Set<number>()
    for (let next = this.#read.shift(); next; next = this.#read.shift()) {
      unsent.add(next.seq)
      this.#hold(-next.content.length)
    }
    // What was passed by and not read has left the mailbox: it is damaged, or has expired.
    for (const seq of this.#attempts.keys()) if (seq <= this.#lastRead && !unsent.has(seq)) this.#attempts.delete(seq)
    for (const sent of this.#sent) {
      this.#left(sent)
      if (!sent.removed) this.#attempts.set(sent.seq, sent.attempt)
    }
    return this.#attempts
  }

  #sendNext(): void {
    const message = this.#read.shift()
    if (!message) return
    const { seq, content } = message
    const attempt = this.#attemptOf(seq)
    const sent = this.#sent.add(seq, content.length, attempt)
    this.#hand(sent, (left) => {
      const asked = this.#caller.ask(deliveryRequest(message, attempt), left)
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
    // Until it has left: another turn must not do the same.
    sent.dueAt = Number.POSITIVE_INFINITY
    sent.held = sent.bytes
    this.#hold(sent.held)
    const [message] = await this.#readFrom(sent.seq - 1, 1, sent.bytes)
    if (this.#ended || sent.answered) return
    // It has expired, and must not hold up the window.
    if (message?.seq !== sent.seq) {
      this.#settle(sent)
      this.#gone([sent])
      return
    }
    sent.attempt = Math.min(sent.attempt + 1, longestAttempt)
    this.#hand(sent, (left) => this.#caller.repeat(sent.request, deliveryRequest(message, sent.attempt), left))
  }

  /** Its time begins when its bytes have left: what the socket has not taken is not sent again. */
  #hand(sent: Sent, send: (left: () => void) => boolean): void {
    const { limits, clock } = this.#host
    const left = () => {
      this.#left(sent)
      if (sent.answered || this.#ended) return
      sent.dueAt = clock.now() + answerMs(sent.attempt, limits.deliveryMs)
      this.#alarm.by(sent.dueAt)
    }
    if (!send(left)) this.#left(sent)
  }

  #left(sent: Sent): void {
    this.#hold(-sent.held)
    sent.held = 0
  }

  #hold(bytes: number): void {
    this.heldBytes += bytes
    this.#host.hold(this, bytes)
  }

  #answered(sent: Sent, { mailboxSeq }: Message<'DeliverMsgAck'>): void {
    if (mailboxSeq !== sent.seq) {
      void this.#caller.close(new OspError('malformed', `message ${sent.seq} was acknowledged as ${mailboxSeq}`))
      return
    }
    this.#settle(sent)
    this.#acknowledged.push(sent)
    this.#host.underWay(this.#remove())
  }

  #refused(sent: Sent, why: OspError): void {
    // No refusal: the link has ended.
    if (!this.#caller.open) return
    this.#settle(sent)
    const { log, mailboxes } = this.#host
    log({ level: 'warn', event: 'message-given-up', ...linkOf(this.#caller), seq: sent.seq, text: why.message })
    const setAside = () => mailboxes.setAside(this.user, [sent.seq])
    this.#host.underWay(this.#durably('setting a message aside', setAside, [sent]))
  }

  #settle(sent: Sent): void {
    sent.answered = true
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
    this.#gone(group)
  }

  /** They are in the mailbox no more. */
  #gone(group: readonly Sent[]): void {
    for (const sent of group) sent.removed = true
    this.#sent.settle()
    if (!this.#ended) this.#host.ready(this)
  }

  /** Reads what the window has room for: it is sent at once, and held only until the socket has taken it. */
  async #fill(): Promise<void> {
    const { room } = this.#sent
    if (room.messages === 0 || this.#reading || !this.#more) return
    const may = this.#host.mayRead(this)
    if (may === 'none') return
    // At least one message is read, however few the bytes.
    const { messages: most, bytes } = may === 'window' ? room : { messages: 1, bytes: 1 }
    this.#reading = true
    this.#more = false
    // Counted before it is there: many may read at once.
    this.#hold(bytes)
    const messages = await this.#readFrom(this.#lastRead, most, bytes)
    this.#reading = false
    let unsent = 0
    for (const message of this.#ended ? [] : messages) {
      unsent += message.content.length
      this.#read.push(message)
      this.#lastRead = message.seq
      this.#more = true
    }
    this.#hold(unsent - bytes)
    if (this.#more && !this.#ended) this.#host.ready(this)
  }

  async #readFrom(afterSeq: number, most: number, bytes: number): Promise<readonly StoredMessage[]> {
    try {
      const messages = await this.#host.mailboxes.read(this.user, afterSeq, most, bytes)
      await this.#host.looked(this)
      return messages
    } catch (error) {
      if (this.#ended) return []
      const { message: text } = OspError.from(error)
      this.#host.log({ level: 'error', event: 'mailbox-failed', user: this.user, text: `reading: ${text}` })
      await this.#caller.close(new OspError('internal'))
      return []
    }
  }
}
