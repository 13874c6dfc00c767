import type { ClientStatus } from '../../lib/client/connection/session.ts'
import type { Message, Receiver } from '../../lib/client/messages/message.ts'
import type { MessageReceipt } from '../../lib/client/messages/messageReceipts.ts'
import { RunningClient } from '../../lib/client/runningClient.ts'
import { OspError } from '../../lib/errors.ts'
import { hex } from '../../lib/runtime/hex.ts'
import type { Bounds } from './bounds.ts'
import type { MessageActor } from './messageActor.ts'
import type { MessageInvariants } from './messageInvariants.ts'
import type { SimulatedNetwork } from './network.ts'
import type { Post } from './post.ts'
import type { Machine, SimulatedProcess } from './process.ts'
import { resultFor } from './receiptWatch.ts'
import type { Tokens } from './tokens.ts'
import type { Trace } from './trace.ts'

/** After these errors a message was not sent, or the outcome is unknown: the restarted program sends it again. */
const over: readonly string[] = ['closed', 'superseded', 'unauthorized']

/** The behaviour of the handlers in a world. */
export interface HandlerBehavior {
  /** Maximum duration of a handler. */
  readonly handlerMs: number
  /** Probability that a handler throws. */
  readonly throwing: number
  /** Probability that the program is killed during a handler. */
  readonly dying: number
}

/** The parts of a world that a messaging program uses, and its checks. */
export interface MessageRunParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly network: SimulatedNetwork
  readonly tokens: Tokens
  readonly bounds: Pick<Bounds, 'ended'>
  readonly server: { readonly hasFailed: boolean }
  readonly mail: { readonly invariants: MessageInvariants; readonly temper: HandlerBehavior; readonly asking: number }
}

/** One run of a program that sends and receives messages. */
export class MessageRun {
  readonly process: SimulatedProcess
  readonly client: RunningClient
  /** Whether another program of the user listens. */
  superseded = false
  /** The number of handlers that are running, and its limit. */
  inHand = 0
  concurrency = 1
  readonly #parts: MessageRunParts
  readonly #actor: MessageActor
  /** Number of pending calls for a message. */
  readonly #calls = new Map<Post, number>()
  #receiver: Receiver | undefined

  constructor(parts: MessageRunParts, actor: MessageActor, process: SimulatedProcess) {
    this.#parts = parts
    this.#actor = actor
    this.process = process
    this.client = new RunningClient({
      to: parts.network.transportOf(process),
      user: actor.user,
      device: actor.device,
      token: async () => parts.tokens.said(actor.user),
      platform: process.platform,
      software: 'simulation',
      state: { ...actor.receipts.stateOf(process), ...(actor.outbox && { outbox: actor.outbox.storeOf(process) }) },
    })
    this.client.on('status', (status, why) => this.#status(status, why))
    this.client.on('messageRefused', ({ id, isQueued }, why) => {
      if (!process.alive) return
      if (isQueued) this.#tell(`is refused for now: ${why.code}`)
      else this.#refused(id, why)
    })
    const { invariants } = parts.mail
    this.client.presence.on('change', (member) => invariants.listed(this.process, member))
    this.client.presence.on('whole', (members) => invariants.listedWhole(this.process, members))
    if (parts.mail.asking > 0) void this.#takeReceipts(this.client.receipts())
  }

  /** Takes receipts until the client ends. */
  async #takeReceipts(receipts: AsyncIterable<MessageReceipt>): Promise<void> {
    try {
      for await (const receipt of receipts) {
        await this.process.effect(10, 'time to take a receipt', () => {
          this.#tell(`has a receipt of ${receipt.recipient} for ${receipt.messageId.slice(-4)}: ${receipt.state}`)
          this.#parts.mail.invariants.receipts.got(this.#actor.user, receipt)
        })
      }
    } catch {
      // The client has ended, or the message was not sent.
    }
  }

  /** Whether it cannot continue: its client was refused permanently. */
  get over(): boolean {
    return this.client.status === 'refused'
  }

  get receiving(): boolean {
    return this.#receiver !== undefined
  }

  receive(): void {
    if (this.#receiver || this.superseded || this.over) return
    const { random } = this.#parts.machine
    if (this.inHand === 0) this.concurrency = random.chance(0.3, 'a program handles several messages at once') ? 3 : 1
    const { concurrency } = this
    this.#tell('receives')
    const receiver = this.client.receive((message) => this.#handle(message), { concurrency })
    this.#receiver = receiver
    receiver.done.then(
      () => this.#left(receiver),
      (error: unknown) => this.#ended(receiver, OspError.from(error)),
    )
  }

  /** Stops receiving messages for now. */
  hush(): void {
    const receiver = this.#receiver
    if (!receiver) return
    this.#tell('stops receiving')
    receiver[Symbol.asyncDispose]().catch((error: unknown) =>
      this.#parts.trace.fail(`${this.process.name} stops: ${error}`),
    )
  }

  removeDevice(device: string): void {
    this.#tell(`removes the device ${device}`)
    this.client.devices.remove(device).then(
      (isKnown) => this.#tell(isKnown ? `has removed the device ${device}` : `finds no device ${device}`),
      (error: unknown) => this.#tell(`has not removed the device ${device}: ${OspError.from(error).code}`),
    )
  }

  send(post: Post): void {
    this.process.awake(() => this.#send(post))
  }

  #send(post: Post): void {
    post.calls++
    post.aborting = new AbortController()
    this.#calls.set(post, (this.#calls.get(post) ?? 0) + 1)
    const { id, to, content, timeToLiveMs } = post
    this.#tell(`sends ${post.name} to ${to.length > 4 ? `${to.length} users` : to.join(', ')}`)
    const options = { id: hex(id), timeToLiveMs, receipt: post.asksReceipts, signal: post.aborting.signal }
    const sent = this.client.send(to, content, options)
    if (post.asksReceipts) void this.#takeReceipts(sent.receipts())
    if (this.#actor.outbox)
      sent.queued.then(() => this.process.alive && this.#actor.wanted.delete(post)).catch(() => {})
    sent.then(
      (states) => {
        if (!this.process.alive) return
        this.#answered(post)
        this.#tell(`has sent ${post.name}: ${states.map(({ status }) => status).join(', ')}`)
        this.#actor.wanted.delete(post)
        this.#parts.mail.invariants.acknowledged(post, states)
      },
      (error: unknown) => this.process.alive && this.#unsent(post, OspError.from(error)),
    )
  }

  /** A message of the outbox is refused for good; if this run has sent it, the call for it reports that too. */
  #refused(id: string, why: OspError): void {
    const post = this.#actor.outbox?.refused(id, why.code === 'id-reused')
    this.#tell(`has lost ${post?.name} from its outbox: ${why.code}`)
    if (!post) return
    const { invariants } = this.#parts.mail
    const isSentAgain = (this.#calls.get(post) ?? 0) > 0
    // By the wall clock, the server may have forgotten its id.
    if (why.code === 'timed-out' && this.#parts.machine.time.hasJumped) invariants.forgotten(post, isSentAgain)
    else if (!isSentAgain) invariants.refused(post, why)
  }

  #unsent(post: Post, why: OspError): void {
    const { invariants } = this.#parts.mail
    const isUnknown = why.message.includes('is unknown')
    this.#tell(`has not sent ${post.name}: ${why.code}${isUnknown ? ', perhaps' : ''}`)
    // The result of another call is decisive.
    if (this.#answered(post) > 0) return
    if (!over.includes(why.code) || post.isAborted) this.#actor.wanted.delete(post)
    if (over.includes(why.code)) invariants.unsent(post, isUnknown, this.#actor.outbox !== undefined)
    else invariants.refused(post, why)
  }

  /** Returns the number of calls for it that are still pending. */
  #answered(post: Post): number {
    const left = (this.#calls.get(post) ?? 1) - 1
    this.#calls.set(post, left)
    return left
  }

  /** Returns whether a call for it is pending, so that it can be aborted. */
  isSending(post: Post): boolean {
    return (this.#calls.get(post) ?? 0) > 0
  }

  /** Returns whether more than one call for it is pending. */
  isRepeating(post: Post): boolean {
    return (this.#calls.get(post) ?? 0) > 1
  }

  async #handle(message: Message): Promise<string> {
    const { machine, mail } = this.#parts
    const { invariants, temper } = mail
    const { random, time } = machine
    const hand = invariants.handedOver(this.#actor, this, message)
    this.#tell(`is handed ${hand.name} (${message.attempt})`)
    const throws = hand.poison || random.chance(temper.throwing, 'a handler throws')
    if (random.chance(temper.dying, 'a program is killed in its handler')) {
      const atMs = time.now() + random.fraction('time until a handler is killed') * temper.handlerMs
      time.alarm(atMs, () => this.#actor.kill(this))
    }
    await this.process.effect(temper.handlerMs, 'time of a handler', () => {})
    invariants.handled(this.#actor, this, hand, throws)
    if (throws) throw new Error('the handler throws')
    // After this the client may hand over the next message only when the handler has returned.
    const result = resultFor(`${this.#actor.user} ${hand.key}`)
    if (random.chance(0.1, 'a handler acknowledges its message')) await message.ack(result).catch(() => {})
    return result
  }

  #left(receiver: Receiver): void {
    if (this.#receiver === receiver) this.#receiver = undefined
  }

  /** Another program listens: this one ends, unless it still has a message to send and may do so. */
  #ended(receiver: Receiver, why: OspError): void {
    this.#left(receiver)
    if (!this.process.alive) return
    this.#tell(`receives no more: ${why.code}`)
    if (why.code === 'unauthorized' && this.#mayBeRefused) return
    if (why.code !== 'superseded') this.#parts.trace.fail(`${this.process.name} stops receiving: ${why.code}`)
    this.superseded = true
    const { time } = this.#parts.machine
    const { random } = this.process.machine
    if (random.chance(0.3, 'a program stays that was superseded')) return
    const atMs = time.now() + random.fraction('time until a program ends that was superseded') * 5_000
    time.alarm(atMs, () => this.#actor.end(this))
  }

  #status(status: ClientStatus, why: OspError | undefined): void {
    if (!why || !this.process.alive) return
    this.#tell(`is ${status}: ${why.code}`)
    const isFault = why.code === 'malformed' || (why.code === 'internal' && !this.#parts.server.hasFailed)
    const isRefused = why.code === 'unauthorized' && this.#mayBeRefused
    const isFair = status !== 'refused' || why.code === 'superseded' || isRefused
    if (isFault || !isFair) this.#parts.trace.fail(`${this.process.name} is ${status}: ${why.code}: ${why.message}`)
  }

  /** It may have sent a token that was changed. */
  get #mayBeRefused(): boolean {
    return this.#parts.tokens.mayFail(this.#actor.user)
  }

  #tell(what: string): void {
    if (this.process.alive) this.#parts.trace.tell(`${this.process.name} ${what}`)
  }
}
