import { Queue } from '../../core/queue.ts'
import { OspError } from '../../errors.ts'
import type { MailboxStore, StoredMessage } from '../../ports/mailboxes.ts'
import { Alarm } from '../../runtime/alarm.ts'
import type { PendingWork } from '../../runtime/pendingWork.ts'
import type { WireMessage } from '../../wire/message.ts'
import type { Connection, ServerContext } from '../app.ts'
import type { DamageReporter } from '../damageReporter.ts'
import { linkOf } from '../serverLog.ts'
import type { DeliveryBudget, RoundRobin } from './deliveryBudget.ts'
import { answerMs, InFlightWindow, type Sent } from './inFlightWindow.ts'

const maxAttempt = 0xff

/** What all deliveries of a server share. */
export interface DeliveryContext extends Pick<ServerContext, 'platform' | 'limits' | 'log'> {
  readonly mailboxes: MailboxStore
  /** Calls `step` of each delivery in turn. */
  readonly scheduler: RoundRobin
  /** Limits the memory of all deliveries. */
  readonly budget: DeliveryBudget
  readonly damages: DamageReporter
  /** Removals that closing waits for. */
  readonly pending: PendingWork
  /** The last message that was stored when the server started. Messages up to it may have been delivered before. */
  readonly oldSeq: number
}

/**
 * Sends the messages of one mailbox to the client that has registered for it (docs/protocol.md, "Messages", Receiving): in
 * order, within a window that begins at the oldest unanswered message. A message is removed when it is acknowledged.
 */
export class Delivery {
  readonly #caller: Connection
  readonly #context: DeliveryContext
  /** By seq, how often an unanswered message was sent on earlier links of the user. */
  readonly #attempts: Map<number, number>
  /** Messages that were read and not sent. */
  readonly #read = new Queue<StoredMessage>()
  readonly #window: InFlightWindow
  /** Bytes of content in memory that the socket has not taken, and bytes set aside for content that is being read. */
  bufferedBytes = 0
  #lastRead = 0
  /** The mailbox may contain messages that were not read. */
  #more = true
  #reading = false
  /** Acknowledged messages that are removed together. */
  #acknowledged: Sent[] = []
  #removing = false
  #ended = false
  readonly #alarm: Alarm

  constructor(caller: Connection, attempts: Map<number, number>, context: DeliveryContext) {
    const { limits, platform } = context
    this.#caller = caller
    this.#attempts = attempts
    this.#context = context
    this.#window = new InFlightWindow(limits.deliveryWindow, limits.deliveryBytes)
    this.#alarm = new Alarm(platform.clock, () => this.#schedule())
  }

  /** Continues after a message was appended to the mailbox. */
  appended(): void {
    if (this.#more) return
    this.#more = true
    this.#schedule()
  }

  /** Sends one message, or repeats one. Returns whether another one can be sent at once. */
  step(): boolean {
    if (this.#ended) return false
    const { platform, budget } = this.#context
    const overdue = this.#window.overdue(platform.clock.now())
    const lacksMemory = overdue !== undefined && budget.allowance(this) === 'none'
    if (overdue && !lacksMemory) void this.#repeat(overdue)
    else if (this.#window.free.messages > 0) this.#sendNext()
    if (!lacksMemory && !this.#ended) this.#alarm.by(this.#window.dueAt)
    if (this.#read.length === 0) void this.#fill()
    return this.#window.free.messages > 0 && this.#read.length > 0
  }

  /** Ends the delivery with its link. Returns the attempts of unanswered messages, for the next delivery of the user. */
  end(): Map<number, number> {
    this.#ended = true
    this.#alarm.stop()
    const unsent = new Set<number>()
    for (let next = this.#read.shift(); next; next = this.#read.shift()) {
      unsent.add(next.seq)
      this.#buffer(-next.content.length)
    }
    // A message that reading has skipped has left the mailbox: it is damaged, or has expired.
    for (const seq of this.#attempts.keys()) if (seq <= this.#lastRead && !unsent.has(seq)) this.#attempts.delete(seq)
    for (const sent of this.#window) {
      this.#flushed(sent)
      if (!sent.removed) this.#attempts.set(sent.seq, sent.attempt)
    }
    this.#context.budget.forget(this)
    return this.#attempts
  }

  #schedule(): void {
    this.#context.scheduler.schedule(this)
  }

  #sendNext(): void {
    const message = this.#read.shift()
    if (!message) return
    const { seq, content } = message
    const attempt = this.#attemptOf(seq)
    const sent = this.#window.add(seq, content.length, attempt)
    const asked = this.#caller.ask(requestFor(message, attempt), () => this.#onFlushed(sent))
    sent.request = asked.seq
    asked.reply.then(
      (ack) => this.#answered(sent, ack),
      (error: unknown) => this.#refused(sent, OspError.from(error)),
    )
  }

  /** Counts a message that was sent on an earlier link, or in an earlier run of the server, as a repetition. */
  #attemptOf(seq: number): number {
    const before = this.#attempts.get(seq) ?? (seq <= this.#context.oldSeq ? 1 : 0)
    return Math.min(before + 1, maxAttempt)
  }

  async #repeat(sent: Sent): Promise<void> {
    // Until the socket has taken it, so that the next step does not repeat it as well.
    sent.dueAt = Number.POSITIVE_INFINITY
    sent.bufferedBytes = sent.bytes
    this.#buffer(sent.bufferedBytes)
    const [message] = await this.#readFrom(sent.seq - 1, 1, sent.bytes)
    if (this.#ended || sent.answered) return
    // An expired message must not block the window.
    if (message?.seq !== sent.seq) {
      this.#settle(sent)
      this.#removed([sent])
      return
    }
    sent.attempt = Math.min(sent.attempt + 1, maxAttempt)
    const request = requestFor(message, sent.attempt)
    if (!this.#caller.repeat(sent.request, request, () => this.#onFlushed(sent))) this.#flushed(sent)
  }

  /** Starts the time for the answer when the socket has taken the message. */
  #onFlushed(sent: Sent): void {
    this.#flushed(sent)
    if (sent.answered || this.#ended) return
    const { limits, platform } = this.#context
    sent.dueAt = platform.clock.now() + answerMs(sent.attempt, limits.deliveryMs)
    this.#alarm.by(sent.dueAt)
  }

  #flushed(sent: Sent): void {
    this.#buffer(-sent.bufferedBytes)
    sent.bufferedBytes = 0
  }

  #buffer(bytes: number): void {
    this.bufferedBytes += bytes
    this.#context.budget.add(this, bytes)
  }

  #answered(sent: Sent, { mailboxSeq }: WireMessage<'DeliverMsgAck'>): void {
    if (mailboxSeq !== sent.seq) {
      void this.#caller.close(new OspError('malformed', `message ${sent.seq} was acknowledged as ${mailboxSeq}`))
      return
    }
    this.#settle(sent)
    this.#acknowledged.push(sent)
    this.#context.pending.track(this.#remove())
  }

  #refused(sent: Sent, error: OspError): void {
    // The end of the link also rejects the reply, but refuses nothing.
    if (!this.#caller.open) return
    this.#settle(sent)
    const { log, mailboxes, pending } = this.#context
    const { user } = this.#caller
    log({ level: 'warn', event: 'message-given-up', ...linkOf(this.#caller), seq: sent.seq, text: error.message })
    const setAside = () => mailboxes.setAside(user, [sent.seq])
    pending.track(this.#durably('setting a message aside', setAside, [sent]))
  }

  #settle(sent: Sent): void {
    sent.answered = true
    sent.dueAt = Number.POSITIVE_INFINITY
    this.#flushed(sent)
  }

  /** Removes the acknowledged messages, including those that are acknowledged meanwhile. */
  async #remove(): Promise<void> {
    if (this.#removing) return
    this.#removing = true
    // Acknowledgements that arrived together are removed together.
    await Promise.resolve()
    while (this.#acknowledged.length > 0) {
      const group = this.#acknowledged
      this.#acknowledged = []
      const seqs = group.map(({ seq }) => seq)
      const remove = () => this.#context.mailboxes.remove(this.#caller.user, seqs)
      await this.#durably('removing messages', remove, group)
    }
    this.#removing = false
  }

  /** Frees the window after the removal is durable. So a client needs to remember no more messages than the window. */
  async #durably(action: string, remove: () => Promise<void>, group: readonly Sent[]): Promise<void> {
    try {
      await remove()
    } catch (error) {
      // The messages stay in the mailbox and in the window: the next registration receives them again.
      await this.#failed(action, error)
      return
    }
    this.#removed(group)
  }

  #removed(group: readonly Sent[]): void {
    for (const sent of group) sent.removed = true
    this.#window.settle()
    if (!this.#ended) this.#schedule()
  }

  /** Reads what fits the window: it is sent at once, and stays in memory until the socket has taken it. */
  async #fill(): Promise<void> {
    const { free } = this.#window
    if (free.messages === 0 || this.#reading || !this.#more) return
    const allowance = this.#context.budget.allowance(this)
    if (allowance === 'none') return
    // The mailbox returns at least one message, whatever its length.
    const { messages: maxMessages, bytes } = allowance === 'window' ? free : { messages: 1, bytes: 1 }
    this.#reading = true
    this.#more = false
    // Counted before it is read, since many deliveries may read at once.
    this.#buffer(bytes)
    const messages = await this.#readFrom(this.#lastRead, maxMessages, bytes)
    this.#reading = false
    let unsent = 0
    for (const message of this.#ended ? [] : messages) {
      unsent += message.content.length
      this.#read.push(message)
      this.#lastRead = message.seq
      this.#more = true
    }
    this.#buffer(unsent - bytes)
    if (this.#more && !this.#ended) this.#schedule()
  }

  async #readFrom(afterSeq: number, maxMessages: number, bytes: number): Promise<readonly StoredMessage[]> {
    const { mailboxes, budget, damages } = this.#context
    try {
      const messages = await mailboxes.read(this.#caller.user, afterSeq, maxMessages, bytes)
      budget.finishRead(this)
      await damages.report()
      return messages
    } catch (error) {
      if (!this.#ended) await this.#failed('reading', error)
      return []
    }
  }

  /** Closes the link after a fault of the storage. */
  async #failed(action: string, error: unknown): Promise<void> {
    const text = `${action}: ${OspError.from(error).message}`
    this.#context.log({ level: 'error', event: 'mailbox-failed', user: this.#caller.user, text })
    await this.#caller.close(new OspError('internal'))
  }
}

function requestFor(message: StoredMessage, attempt: number): WireMessage<'DeliverMsgReq'> {
  const { id: messageId, seq: mailboxSeq, sender, sentAt, content } = message
  return { event: 'DeliverMsgReq', messageId, mailboxSeq, sender, sentAt, content, attempt }
}
