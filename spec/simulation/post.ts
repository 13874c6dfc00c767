import { fixed } from '../../lib/limits.ts'
import { hex } from '../../lib/runtime/hex.ts'

/** What is known of a message's sending. */
export type Outcome = 'open' | 'acknowledged' | 'refused' | 'unknown'

/** A message that a program means to send. */
export class Post {
  readonly id: Uint8Array
  readonly sender: string
  readonly program: string
  /** Its place among those of its program. */
  readonly number: number
  readonly to: readonly string[]
  readonly content: Uint8Array
  /** Another message had this id before. */
  readonly forged: boolean
  /** Every handler throws at it. */
  readonly poison: boolean
  outcome: Outcome = 'open'
  /** How often its program has called `send` for it, over all its runs. */
  calls = 0
  givenUp = false
  /** Gives up the latest call. */
  giveUp: AbortController | undefined

  constructor(options: Pick<Post, 'id' | 'sender' | 'program' | 'number' | 'to' | 'content' | 'forged' | 'poison'>) {
    this.id = options.id
    this.sender = options.sender
    this.program = options.program
    this.number = options.number
    this.to = options.to
    this.content = options.content
    this.forged = options.forged
    this.poison = options.poison
  }

  /** Names it among all that are sent. */
  get key(): string {
    return keyOf(this.sender, this.id)
  }

  get name(): string {
    return `${this.program}#${this.number}`
  }

  /** Each named once. */
  get recipients(): readonly string[] {
    return [...new Set(this.to)]
  }

  /** What it must be refused with, whatever the server holds. */
  mustFail(mostRecipients: number): string | undefined {
    if (this.to.some((name) => name.includes('/'))) return 'bad-name'
    if (this.content.length > fixed.messageBytes) return 'too-large'
    if (this.recipients.length > mostRecipients) return 'too-many-recipients'
    return this.forged ? 'id-reused' : undefined
  }
}

/** Names a message: equal for the same sender and id only. */
export function keyOf(sender: string, id: Uint8Array): string {
  return `${sender} ${hex(id)}`
}
