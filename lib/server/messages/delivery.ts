import { Queue } from '../../core/queue.ts'
import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import type { ListeningLink } from '../../ports/links.ts'
import type { MailboxStore, StoredMessage } from '../../ports/mailboxes.ts'
import { Alarm } from '../../runtime/alarm.ts'
import type { PendingWork } from '../../runtime/pendingWork.ts'
import { cutUtf8 } from '../../runtime/refusal.ts'
import type { WireMessage } from '../../wire/message.ts'
import type { Connection, ServerContext } from '../app.ts'
import type { DamageReporter } from '../damageReporter.ts'
import { linkOf } from '../serverLog.ts'
import type { DeliveryBudget, RoundRobin } from './deliveryBudget.ts'
import type { DeliveryEncoder } from './deliveryEncoder.ts'
import { answerMs, InFlightWindow, type SentBatch, sumOf } from './inFlightWindow.ts'
import type { MailboxSpace } from './mailboxSpace.ts'

const maxAttempt = 0xff

const noTexts: ReadonlyMap<number, string> = new Map()

/** The answer to the messages of a batch before the index `end` that were unanswered: they are removed or set aside. */
interface Answer {
  readonly batch: SentBatch
  readonly end: number
  readonly seqs: readonly number[]
  readonly aside: readonly number[]
  /** By seq, the results of the messages, and the reasons of those that are set aside. */
  readonly results: ReadonlyMap<number, string>
}

/** The registration that receives the messages of a mailbox. */
export interface Recipient {
  readonly link: ListeningLink
  /** Messages up to this seq may have been sent at other servers, or in an earlier run of this one. */
  readonly handed: number
}

/** What all deliveries of a server share. */
export interface DeliveryContext extends Pick<ServerContext, 'platform' | 'limits' | 'log'> {
  readonly mailboxes: MailboxStore
  /** Calls `step` of each delivery in turn. */
  readonly scheduler: RoundRobin
  readonly encoder: DeliveryEncoder
  /** Called with each user whose mailbox has more space. */
  readonly space: Pick<MailboxSpace, 'freed' | 'waiting'>
  /** Limits the memory of all deliveries. */
  readonly budget: DeliveryBudget
  readonly damages: DamageReporter
  /** Removals that closing waits for. */
  readonly pending: PendingWork
}

/**
 * Sends the messages of one mailbox to the client that has registered for one device of its user (docs/protocol.md, "Messages",
 * Receiving), in order, within a window that begins at the oldest unanswered message. One REQ carries the messages that are available. A message
 * is removed when it is acknowledged.
 */
export class Delivery {
  readonly #caller: Connection
  readonly #context: DeliveryContext
  /** By seq, how often an unanswered message was sent on earlier links of the user. */
  readonly #attempts: Map<number, number>
  readonly #recipient: Recipient
  /** Messages that were read and not sent. */
  readonly #read = new Queue<StoredMessage>()
  readonly #window: InFlightWindow
  /** Bytes of content in memory that the socket has not taken, and bytes set aside for content that is being read. */
  bufferedBytes = 0
  #lastRead = 0
  /** The highest seq that was sent. */
  #lastSent = 0
  /** The mailbox may contain messages that were not read. */
  #more = true
  #reading = false
  /** Answers of this turn, whose messages are removed together. */
  #answers: Answer[] = []
  #ended = false
  readonly #alarm: Alarm

  constructor(caller: Connection, attempts: Map<number, number>, recipient: Recipient, context: DeliveryContext) {
    const { limits, platform } = context
    this.#caller = caller
    this.#attempts = attempts
    this.#recipient = recipient
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

  /** Sends the messages that were read in one REQ, or repeats a REQ. Returns whether more can be sent at once. */
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

  /** Handles DELIVER_MSG_NTF: the client has handled the messages of a REQ up to `mailboxSeq`. */
  handled({ mailboxSeq, results }: WireMessage<'DeliverMsgNtf'>): void {
    const { limits, platform } = this.#context
    for (const batch of this.#window) {
      const end = batch.seqs.indexOf(mailboxSeq) + 1
      if (end <= batch.answered) continue
      this.#answer(batch, end, noTexts, resultsOf(results))
      // The client is still handling the others.
      if (batch.dueAt < Number.POSITIVE_INFINITY)
        batch.dueAt = platform.clock.now() + answerMs(batch.attempt, limits.deliveryMs)
      return
    }
  }

  /** The highest seq that was sent, or 0. */
  get lastSent(): number {
    return this.#lastSent
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
    for (const batch of this.#window) {
      this.#flushed(batch)
      for (const seq of batch.seqs.slice(batch.removed)) this.#attempts.set(seq, batch.attempt)
    }
    this.#context.budget.forget(this)
    return this.#attempts
  }

  #schedule(): void {
    this.#context.scheduler.schedule(this)
  }

  #sendNext(): void {
    const messages = this.#nextBatch()
    const [first] = messages
    if (!first) return
    const attempt = this.#attemptOf(first.seq)
    const seqs = messages.map(({ seq }) => seq)
    const lengths = messages.map(({ content }) => content.length)
    const batch = this.#window.add(seqs, lengths, attempt)
    this.#lastSent = seqs.at(-1) ?? this.#lastSent
    const request = this.#context.encoder.encode(messages, attempt)
    const asked = this.#caller.ask(request, () => this.#onFlushed(batch))
    batch.request = asked.seq
    asked.reply.then(
      (ack) => this.#acknowledged(batch, ack),
      // The link has ended.
      () => {},
    )
  }

  /**
   * Takes the next messages that fit into one REQ and into the window, and that have the same attempt. Skips those whose time to
   * live has expired.
   */
  #nextBatch(): StoredMessage[] {
    const { free } = this.#window
    const batch: StoredMessage[] = []
    const expired: number[] = []
    const wallTime = this.#context.platform.clock.wallTime()
    let bytes = 0
    let attempt = 0
    let asking = 0
    for (
      let next = this.#read.first;
      next && batch.length < free.messages && bytes < free.bytes;
      next = this.#read.first
    ) {
      if (next.expiresAt !== undefined && next.expiresAt <= wallTime) {
        expired.push(next.seq)
        this.#buffer(-next.content.length)
        this.#read.shift()
        continue
      }
      const itsAttempt = this.#attemptOf(next.seq)
      const fits = itsAttempt === attempt && bytes + next.content.length <= fixed.batchBytes
      if (batch.length > 0 && !(fits && asking < this.#mostAsking)) break
      if (next.receipt) asking++
      attempt = itsAttempt
      bytes += next.content.length
      batch.push(next)
      this.#read.shift()
    }
    if (expired.length > 0) this.#context.pending.track(this.#expire(expired))
    return batch
  }

  /** The maximum number of messages with receipts in a REQ. Their results must fit into the answer. */
  get #mostAsking(): number {
    return Math.max(8, Math.floor(this.#context.limits.chunkBytes / (2 * fixed.resultBytes)))
  }

  /** Removes messages whose time to live has expired. Other devices may be handling them. */
  async #expire(seqs: readonly number[]): Promise<void> {
    const { mailboxes, log, space } = this.#context
    const { user, device } = this.#recipient.link
    for (const seq of seqs) this.#attempts.delete(seq)
    try {
      await mailboxes.remove(user, seqs, true, { state: 'expired', device })
    } catch (error) {
      await this.#failed('removing messages', error)
      return
    }
    log({ level: 'warn', event: 'messages-expired', user, messages: seqs.length })
    space.freed(user)
  }

  /** Counts a message that was sent on an earlier link, or that may have been, as a repetition. */
  #attemptOf(seq: number): number {
    const before = this.#attempts.get(seq) ?? (seq <= this.#recipient.handed ? 1 : 0)
    return Math.min(before + 1, maxAttempt)
  }

  async #repeat(batch: SentBatch): Promise<void> {
    // Until the socket has taken it, so that the next step does not repeat it as well.
    batch.dueAt = Number.POSITIVE_INFINITY
    const { seqs, lengths, answered } = batch
    batch.bufferedBytes = sumOf(lengths, answered)
    this.#buffer(batch.bufferedBytes)
    const read = await this.#readFrom((seqs[answered] ?? 0) - 1, seqs.length - answered, batch.bufferedBytes)
    if (this.#ended || batch.answered === seqs.length) return
    const messages = read.filter(({ seq }) => seqs.includes(seq))
    if (messages.length === 0) {
      // The former recipient, at another server, has also answered these messages. This recipient has them and answers them too.
      if (this.#context.mailboxes.watch && this.#caller.reliable) return this.#flushed(batch)
      // Expired messages must not block the window.
      this.#settle(batch, seqs.length)
      this.#removed([{ batch, end: seqs.length }])
      return
    }
    batch.attempt = Math.min(batch.attempt + 1, maxAttempt)
    const request = this.#context.encoder.encode(messages, batch.attempt)
    if (!this.#caller.repeat(batch.request, request, () => this.#onFlushed(batch))) this.#flushed(batch)
  }

  /** Starts the time for the answer when the socket has taken the REQ. */
  #onFlushed(batch: SentBatch): void {
    this.#flushed(batch)
    if (batch.answered === batch.seqs.length || this.#ended) return
    const { limits, platform } = this.#context
    batch.dueAt = platform.clock.now() + answerMs(batch.attempt, limits.deliveryMs)
    this.#alarm.by(batch.dueAt)
  }

  #flushed(batch: SentBatch): void {
    this.#buffer(-batch.bufferedBytes)
    batch.bufferedBytes = 0
  }

  #buffer(bytes: number): void {
    this.bufferedBytes += bytes
    this.#context.budget.add(this, bytes)
  }

  #acknowledged(batch: SentBatch, { mailboxSeq, rejected, results }: WireMessage<'DeliverMsgAck'>): void {
    const isWrong =
      mailboxSeq !== batch.seqs.at(-1) || rejected.some(({ mailboxSeq: seq }) => !batch.seqs.includes(seq))
    if (isWrong) {
      const text = `messages up to ${batch.seqs.at(-1)} were acknowledged as ${mailboxSeq}`
      void this.#caller.close(new OspError('malformed', text))
      return
    }
    const { log } = this.#context
    const link = linkOf(this.#caller)
    for (const { mailboxSeq: seq, text } of rejected)
      log({ level: 'warn', event: 'message-set-aside', ...link, seq, text })
    const reasons = new Map(rejected.map(({ mailboxSeq: seq, text }) => [seq, text]))
    this.#answer(batch, batch.seqs.length, reasons, resultsOf(results))
  }

  /** Removes the messages of a batch before the index `end`, and sets those aside that are `rejected`. */
  #answer(
    batch: SentBatch,
    end: number,
    rejected: ReadonlyMap<number, string>,
    results: ReadonlyMap<number, string>,
  ): void {
    const answered = batch.seqs.slice(batch.answered, end)
    this.#settle(batch, end)
    const isRejected = (seq: number) => rejected.has(seq)
    const seqs = rejected.size > 0 ? answered.filter((seq) => !isRejected(seq)) : answered
    const aside = rejected.size > 0 ? answered.filter(isRejected) : []
    const texts = rejected.size > 0 ? new Map([...results, ...rejected]) : results
    if (this.#answers.push({ batch, end, seqs, aside, results: texts }) === 1)
      this.#context.pending.track(this.#remove())
  }

  #settle(batch: SentBatch, end: number): void {
    batch.answered = end
    if (end < batch.seqs.length) return
    batch.dueAt = Number.POSITIVE_INFINITY
    this.#flushed(batch)
  }

  /** Removes messages, and then frees the window, so that a client need not remember more messages than fit in the window. */
  async #remove(): Promise<void> {
    await Promise.resolve()
    const answers = this.#answers
    this.#answers = []
    const { mailboxes, space } = this.#context
    const { user, device } = this.#recipient.link
    const seqs = answers.flatMap((answer) => answer.seqs)
    const aside = answers.flatMap((answer) => answer.aside)
    try {
      // If nothing waits for the removal, it can share a flush with the next message, which then need not wait for two.
      const mayWait = !this.#ended && space.waiting === 0 && this.#window.isHalfFree
      const results = new Map(answers.flatMap((answer) => [...answer.results]))
      const how = { state: 'handled', results, device } as const
      const removed = seqs.length > 0 && mailboxes.remove(user, seqs, mayWait, how)
      const setAside = aside.length > 0 && mailboxes.setAside(user, aside, results, device)
      await Promise.all([removed, setAside])
    } catch (error) {
      // The messages stay in the mailbox and in the window: the next registration receives them again.
      await this.#failed('removing messages', error)
      return
    }
    this.#removed(answers)
  }

  #removed(answers: readonly Pick<Answer, 'batch' | 'end'>[]): void {
    for (const { batch, end } of answers) batch.removed = Math.max(batch.removed, end)
    this.#window.settle()
    if (this.#ended) return
    this.#context.space.freed(this.#caller.user)
    this.#schedule()
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
      const messages = await mailboxes.read(this.#caller.user, afterSeq, maxMessages, bytes, this.#recipient.link)
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

/** Returns the results of an answer by seq. */
function resultsOf(results: WireMessage<'DeliverMsgNtf'>['results']): ReadonlyMap<number, string> {
  return results ? new Map(results.map(({ mailboxSeq, result }) => [mailboxSeq, cutUtf8(result)])) : noTexts
}
