import { fixed } from '../../lib/limits.ts'
import { hex } from '../../lib/runtime/hex.ts'
import { encodeBody } from '../../lib/wire/messageBody.ts'

/** Whether a message is known to be sent or refused. */
export type Outcome = 'open' | 'acknowledged' | 'refused' | 'unknown'

type PostOptions = Pick<
  Post,
  'id' | 'sender' | 'program' | 'number' | 'to' | 'content' | 'forged' | 'poison' | 'timeToLiveMs' | 'asksReceipts'
>

/** A message that a program is to send. */
export class Post {
  readonly id: Uint8Array
  readonly sender: string
  readonly program: string
  /** Its number among the messages of its program. */
  readonly number: number
  readonly to: readonly string[]
  readonly content: Uint8Array
  /** Whether another message had this id before. */
  readonly forged: boolean
  /** Whether every handler throws at it. */
  readonly poison: boolean
  readonly timeToLiveMs: number | undefined
  readonly asksReceipts: boolean
  outcome: Outcome = 'open'
  /** Number of calls of `send` for it, over all runs of its program. */
  calls = 0
  /** Whether its program has aborted the call. */
  isAborted = false
  /** Aborts the latest call. */
  aborting: AbortController | undefined

  constructor(options: PostOptions) {
    this.id = options.id
    this.sender = options.sender
    this.program = options.program
    this.number = options.number
    this.to = options.to
    this.content = options.content
    this.forged = options.forged
    this.poison = options.poison
    this.timeToLiveMs = options.timeToLiveMs
    this.asksReceipts = options.asksReceipts
  }

  /** Identifies it among all messages. */
  get key(): string {
    return keyOf(this.sender, this.id)
  }

  /** The body that a client sends. */
  get body(): Uint8Array {
    const { timeToLiveMs: timeToLive } = this
    const expiry = timeToLive === undefined ? {} : { timeToLive }
    return encodeBody({ ...expiry, ...(this.asksReceipts ? { receiptWanted: true } : {}) }, this.content)
  }

  get name(): string {
    return `${this.program}#${this.number}`
  }

  /** The recipients, each once. */
  get recipients(): readonly string[] {
    return [...new Set(this.to)]
  }

  /** The refusal that it must get in any state of the server, if any. */
  mustFail(mostRecipients: number): string | undefined {
    if (this.to.some((name) => name.includes('/'))) return 'bad-name'
    if (this.content.length > fixed.messageBytes) return 'too-large'
    if (this.recipients.length > mostRecipients) return 'too-many-recipients'
    return this.forged ? 'id-reused' : undefined
  }
}

/** Identifies a message: equal only for the same sender and id. */
export function keyOf(sender: string, id: Uint8Array): string {
  return `${sender} ${hex(id)}`
}
