import { BoundedMap } from '../../core/boundedMap.ts'
import { Queue } from '../../core/queue.ts'
import { OspError } from '../../errors.ts'
import { fixed, MiB } from '../../limits.ts'
import type { AddressedMessage, MailboxBounds, Settlement } from '../../ports/mailboxes.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { fullMessageStore, tooManyReceipts } from '../../storage/mailboxes/messageAppender.ts'
import type { ClusterMember } from './clusterMember.ts'
import type { LeavingMessages, PostRefusal, PostResult } from './mailSteps.ts'
import type { ClusterSessionLink } from './steps.ts'

/** The limits of one step. `deliveries` counts each message once for each recipient. */
const most = { messages: 500, bytes: 4 * MiB, deliveries: 2_000, seqs: 5_000 }
/** The maximum time for which a removal waits for other changes. */
const mostWaitMs = 20

/** Messages of one sender that are appended together. */
interface PostCall {
  readonly kind: 'post'
  readonly messages: readonly AddressedMessage[]
  readonly bounds: MailboxBounds
  /** The link over which the messages came. */
  readonly by: ClusterSessionLink | undefined
  readonly outcomes: (OspError | undefined)[]
  /** The number of messages that were added to a step so far. */
  taken: number
  readonly done: Deferred<void>
}

interface SeqsCall {
  readonly kind: 'remove' | 'setAside'
  readonly user: string
  readonly seqs: readonly number[]
  readonly how: Settlement | undefined
  readonly done: Deferred<void>
}

interface OtherCall {
  readonly kind: 'other'
  readonly run: () => Promise<void>
  readonly done: Deferred<void>
}

/** The messages of one step, and the call to which each message belongs. */
interface Round {
  readonly calls: PostCall[]
  readonly messages: AddressedMessage[]
  bytes: number
  deliveries: number
}

/**
 * Sends changes of mailboxes to the shared store in the order of the calls, one step at a time. Changes that are requested during
 * a step are sent together in the next one.
 */
export class MailBatcher {
  readonly #member: ClusterMember
  readonly #posted: (result: PostResult) => void
  readonly #settled: (users: readonly string[]) => void
  /** The links with messages whose outcome is unknown. No further messages of these links are stored. */
  readonly #unknown = new BoundedMap<number, true>(fixed.rememberedUsers)
  readonly #calls = new Queue<PostCall | SeqsCall | OtherCall>()
  /** Removals that may wait. They are sent with the next removals, or when the alarm fires. */
  #unhurried: SeqsCall[] = []
  #alarm: Alarm | undefined
  #running: Promise<void> | undefined

  /**
   * `posted` is called with the result of each step that stores messages, and `settled` with the users with new receipts.
   */
  constructor(
    member: ClusterMember,
    posted: (result: PostResult) => void,
    settled: (users: readonly string[]) => void,
  ) {
    this.#member = member
    this.#posted = posted
    this.#settled = settled
  }

  async post(
    messages: readonly AddressedMessage[],
    bounds: MailboxBounds,
    by: ClusterSessionLink | undefined,
  ): Promise<readonly (OspError | undefined)[]> {
    if (messages.length === 0) return []
    const call: PostCall = { kind: 'post', messages, bounds, by, outcomes: [], taken: 0, done: deferred() }
    await this.#add(call)
    return call.outcomes
  }

  change(kind: SeqsCall['kind'], { user, seqs, how }: LeavingMessages, mayWait = false): Promise<void> {
    const call: SeqsCall = { kind, user, seqs, how, done: deferred() }
    if (!mayWait) return this.#add(call)
    this.#unhurried.push(call)
    const { clock } = this.#member.platform
    this.#alarm ??= new Alarm(clock, () => this.#hurry())
    this.#alarm.by(clock.now() + mostWaitMs)
    return call.done.promise
  }

  /** Calls `run` after the changes that were requested before it. */
  run(run: () => Promise<void>): Promise<void> {
    return this.#add({ kind: 'other', run, done: deferred() })
  }

  /** Resolves when no change is under way. */
  async idle(): Promise<void> {
    this.#hurry()
    await this.#running
  }

  #add(call: PostCall | SeqsCall | OtherCall): Promise<void> {
    this.#calls.push(call)
    this.#running ??= this.#run()
    return call.done.promise
  }

  #hurry(): void {
    this.#alarm?.stop()
    for (const call of this.#unhurried) this.#calls.push(call)
    this.#unhurried = []
    if (this.#calls.length > 0) this.#running ??= this.#run()
  }

  async #run(): Promise<void> {
    // Waits for further calls in the same turn, which are sent together.
    await Promise.resolve()
    for (let first = this.#calls.first; first; first = this.#calls.first) {
      if (first.kind === 'post') await this.#postRound(first.bounds)
      else if (first.kind === 'other') {
        this.#calls.shift()
        await settled([first], first.run)
      } else await this.#changeRound(first.kind)
    }
    this.#running = undefined
  }

  /** Takes the messages of the next step from the calls. */
  #nextRound(bounds: MailboxBounds): Round {
    const round: Round = { calls: [], messages: [], bytes: 0, deliveries: 0 }
    for (let call = this.#calls.first; call?.kind === 'post' && call.bounds === bounds; call = this.#calls.first) {
      if (this.#isUnknown(call)) refuseRest(call)
      else if (!take(call, round)) break
      this.#calls.shift()
    }
    return round
  }

  async #postRound(bounds: MailboxBounds): Promise<void> {
    const round = this.#nextRound(bounds)
    if (round.calls.length === 0) return
    const { server } = this.#member
    const links = round.calls.map(({ by }) => by)
    let outcomes: readonly (PostRefusal | undefined)[] = []
    let failure: OspError | undefined
    try {
      const result = await this.#member.run((steps) => steps.mail.post(server, round.messages, bounds, links))
      outcomes = result.outcomes
      this.#member.seen.addOf(server, result)
      this.#posted(result)
    } catch (error) {
      failure = OspError.from(error)
      if (failure.code === 'internal') this.#failed(links)
    }
    for (const [at, call] of round.calls.entries()) {
      const refusal = outcomes[at]
      call.outcomes.push(failure ?? (refusal && errorOf(refusal)))
      if (call.outcomes.length === call.messages.length) call.done.resolve()
    }
  }

  #failed(links: readonly (ClusterSessionLink | undefined)[]): void {
    for (const by of links) if (by) this.#unknown.set(by.link, true)
  }

  /** Whether the outcome of an earlier message of the same link is unknown, so that a later one must not overtake it. */
  #isUnknown({ by }: PostCall): boolean {
    return by !== undefined && this.#unknown.has(by.link)
  }

  async #changeRound(kind: 'remove' | 'setAside'): Promise<void> {
    const calls: SeqsCall[] = []
    let seqs = 0
    const isWithin = (call: SeqsCall) => calls.length === 0 || seqs + call.seqs.length <= most.seqs
    for (let call = this.#calls.first; call?.kind === kind && isWithin(call); call = this.#calls.first) {
      calls.push(call)
      seqs += call.seqs.length
      this.#calls.shift()
    }
    while (kind === 'remove' && this.#unhurried[0] && isWithin(this.#unhurried[0])) {
      const [call] = this.#unhurried.splice(0, 1)
      if (!call) break
      calls.push(call)
      seqs += call.seqs.length
    }
    const { server } = this.#member
    await settled(calls, async () => {
      this.#settled(await this.#member.run(({ mail }) => mail[kind](server, calls)))
    })
  }
}

/** Adds messages of a call to a round. Returns whether all of them are now part of a round. */
function take(call: PostCall, round: Round): boolean {
  for (const message of call.messages.slice(call.taken)) {
    const { content, recipients } = message
    const isOver =
      round.messages.length === most.messages ||
      round.bytes + content.length > most.bytes ||
      round.deliveries + recipients.length > most.deliveries
    if (isOver && round.messages.length > 0) return false
    call.taken++
    round.calls.push(call)
    round.messages.push(message)
    round.bytes += content.length
    round.deliveries += recipients.length
  }
  return true
}

/** Refuses those messages of a call that are not part of a round yet. */
function refuseRest(call: PostCall): void {
  const { messages, outcomes, done } = call
  for (const _ of messages.slice(outcomes.length)) outcomes.push(new OspError('link-lost'))
  done.resolve()
}

/** Runs `work`, and settles the calls with its outcome. */
async function settled(calls: readonly { readonly done: Deferred<void> }[], work: () => Promise<void>): Promise<void> {
  try {
    await work()
    for (const { done } of calls) done.resolve()
  } catch (error) {
    for (const { done } of calls) done.reject(error)
  }
}

/** Returns the error of a refused message. */
function errorOf({ code, recipients = [] }: PostRefusal): OspError {
  if (code === 'rate-limited')
    return new OspError(code, 'the sender has sent too many messages recently; try again later')
  if (code === 'link-lost') return new OspError(code, 'the session of the sender has another link')
  if (code === 'disk-full') return fullMessageStore()
  if (code === 'too-many-receipts') return tooManyReceipts()
  if (code !== 'mailbox-full') return new OspError(code)
  return new OspError(code, `no space in the mailbox of ${recipients.join(', ')}`, { recipients })
}
