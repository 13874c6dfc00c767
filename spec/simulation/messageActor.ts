import { MessageRun, type MessageRunParts } from './messageRun.ts'
import { SimulatedOutbox } from './outbox.ts'
import type { Post } from './post.ts'
import { SimulatedProcess } from './process.ts'
import type { Program } from './program.ts'
import { SimulatedReceipts } from './receipts.ts'

/** Maximum time for ending a program. */
const endingMs = 120_000

/** Returns the name of a device of a user, or of a user without devices. */
export const recipientOf = (user: string, device = ''): string => (device === '' ? user : `${user}/${device}`)

/**
 * A user's program for messages. After a restart it first sends the unacknowledged messages again, in order; with an outbox,
 * only those that are not queued.
 */
export class MessageActor implements Program {
  readonly name: string
  readonly user: string
  /** The name of its device, if it has one. */
  readonly device: string | undefined
  readonly sends: boolean
  /** Whether it receives messages from its start. */
  listens: boolean
  /** Whether it starts only after all faults have stopped. */
  isLate: boolean
  /** The messages that it has yet to send. */
  readonly wanted = new Set<Post>()
  readonly receipts: SimulatedReceipts
  readonly outbox: SimulatedOutbox | undefined
  /** All messages that it has had to send. */
  posts = 0
  readonly #parts: MessageRunParts
  readonly #runs: MessageRun[] = []
  #run: MessageRun | undefined
  #ending = false

  constructor(
    parts: MessageRunParts,
    options: Pick<MessageActor, 'name' | 'user' | 'device' | 'sends' | 'listens' | 'isLate'>,
    hasOutbox: boolean,
  ) {
    this.#parts = parts
    this.name = options.name
    this.user = options.user
    this.device = options.device
    this.sends = options.sends
    this.listens = options.listens
    this.isLate = options.isLate
    this.outbox = hasOutbox ? new SimulatedOutbox(parts) : undefined
    this.receipts = new SimulatedReceipts((receipt) => parts.mail.invariants.kept(this, receipt))
  }

  /** The user and the device for which it receives messages. */
  get recipient(): string {
    return recipientOf(this.user, this.device)
  }

  get running(): boolean {
    return this.#run !== undefined
  }

  /** The current run, unless it is ending. */
  get run(): MessageRun | undefined {
    return this.#ending ? undefined : this.#run
  }

  start(): void {
    if (this.#run || this.isLate) return
    const { machine } = this.#parts
    const process = new SimulatedProcess(`${this.name} ${this.#runs.length + 1}`, machine)
    this.#parts.trace.tell(`${process.name} starts`)
    const run = new MessageRun(this.#parts, this, process)
    this.#run = run
    this.#runs.push(run)
    if (this.listens) run.receive()
    for (const post of this.wanted) run.send(post)
  }

  /** Kills the program; only this run, if one is given. */
  kill(only?: MessageRun): void {
    const run = this.#run
    if (!run || (only && run !== only)) return
    this.#parts.trace.tell(`${run.process.name} is killed`)
    run.process.kill()
    this.#parts.network.cut((link) => link.of(run.process))
    this.#gone()
  }

  freeze(ms: number): void {
    const run = this.#run
    if (!run) return
    this.#parts.trace.tell(`${run.process.name} freezes: ${ms} ms`)
    run.process.freezeFor(ms)
  }

  /** Closes the client and ends. */
  end(only?: MessageRun): void {
    const run = this.#run
    if (!run || this.#ending || (only && run !== only)) return
    if (run.process.frozen) {
      run.process.awake(() => this.end(run))
      return
    }
    this.#parts.trace.tell(`${run.process.name} ends`)
    this.#ending = true
    run.process.within(endingMs, () => this.#parts.trace.fail(`${run.process.name} does not end`))
    run.client.close().then(
      () => {
        if (!run.process.alive) return
        this.#parts.trace.tell(`${run.process.name} has ended`)
        this.#parts.bounds.ended(run.process)
        run.process.kill()
        this.#gone()
      },
      (error: unknown) => this.#parts.trace.fail(`${run.process.name} could not end: ${error}`),
    )
  }

  /** Whether it has messages to send. */
  get isSending(): boolean {
    return this.wanted.size > 0 || (this.outbox?.kept.size ?? 0) > 0
  }

  /** Sends a message, after the unacknowledged ones. */
  send(post: Post): void {
    this.wanted.add(post)
    this.outbox?.expect(post)
    this.run?.send(post)
  }

  /** As `ClientActor.letGo`. */
  letGo(): void {
    this.#run?.process.kill()
    for (const { client } of this.#runs) client.close().catch(() => {})
  }

  #gone(): void {
    this.#run = undefined
    this.#ending = false
  }
}
