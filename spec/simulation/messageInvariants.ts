import type { Message, RecipientState } from '../../lib/client/messages/message.ts'
import type { OspError } from '../../lib/errors.ts'
import { clientLimits, type Limits } from '../../lib/limits.ts'
import type { Receipt } from '../../lib/ports/clientState.ts'
import type { StoredMessage } from '../../lib/ports/mailboxes.ts'
import type { PresenceMember } from '../../lib/ports/presence.ts'
import { bytesOfHex } from '../../lib/runtime/hex.ts'
import type { ServerStatus } from '../../lib/server/status.ts'
import type { SimulatedDisk } from './disk.ts'
import { sameBytes } from './files.ts'
import { type MessageActor, recipientOf } from './messageActor.ts'
import type { MessageRun } from './messageRun.ts'
import { keyOf, type Post } from './post.ts'
import type { SimulatedProcess } from './process.ts'
import { ReceiptWatch } from './receiptWatch.ts'
import type { Trace } from './trace.ts'

/** Refusals that depend on the state of the server. */
const passing: readonly string[] = ['mailbox-full', 'rate-limited', 'disk-full', 'too-many-receipts']

/** The delivery of a message to a program: the run, and how often its handler has thrown. */
interface Handed {
  readonly run: MessageRun
  readonly throws: number
}

/** The parts of a world that the invariants of messages use. */
interface MessageParts {
  readonly trace: Trace
  readonly disk: Pick<SimulatedDisk, 'rot'>
  readonly limits: Limits
  readonly mail: { readonly users: readonly string[]; readonly programs: readonly MessageActor[] }
}

/** The invariants of messages. */
export class MessageInvariants {
  /** Messages that were delivered to a user for the first time. */
  delivered = 0
  readonly #parts: MessageParts
  /** By key. */
  readonly #posts = new Map<string, Post>()
  /** Messages that are not known to be sent or refused. */
  readonly #open = new Set<Post>()
  /**
   * `user key` of the acknowledged messages that no handler has completed, and `recipient key` of the stored messages that a known
   * device has not handled.
   */
  readonly #missing = new Set<string>()
  /** `recipient key` and `user key` of the messages that a handler has completed, and `user key` of the messages that were set aside. */
  readonly #handled = new Set<string>()
  readonly #setAside = new Set<string>()
  /** `recipient key` of the delivered messages, and the program that received each. */
  readonly #reached = new Set<string>()
  readonly #handed = new Map<MessageActor, Map<string, Handed>>()
  /** The program that has received each message as attempt 1, by `recipient key`. */
  readonly #first = new Map<string, MessageActor>()
  /** Keys whose receipts a program has stored. */
  readonly #kept = new Map<MessageActor, Set<string>>()
  /** `recipient place` of the messages whose receipt any of its programs has stored. */
  readonly #keptPlaces = new Set<string>()
  /** The number of attempts to append each message, by key, without refused attempts. */
  readonly #attempts = new Map<string, number>()
  /** The known devices of each user. */
  readonly #devices = new Map<string, Set<string>>()
  /** By recipient, how often a device was removed. */
  readonly #removals = new Map<string, number>()
  /** For each sending program and recipient, the number of the latest delivered message. */
  readonly #latest = new Map<string, number>()
  /** Keys that the storage has, and those that it has refused temporarily: others may have overtaken these. */
  readonly #stored = new Set<string>()
  readonly #refusedForNow = new Set<string>()
  /** Keys of messages that may be lost, and of those that may be delivered again, because the storage has lost changes. */
  readonly #inDoubt = new Set<string>()
  readonly #repeatable = new Set<string>()
  #hasLost = false

  readonly receipts: ReceiptWatch

  constructor(parts: MessageParts) {
    this.#parts = parts
    this.receipts = new ReceiptWatch({
      trace: parts.trace,
      post: (key) => this.#posts.get(key),
      isDamaged: (key) => this.isDamaged(key),
      isRepeatable: (key) => this.#repeatable.has(key),
      isHandled: (name) => this.#isIn(this.#handled, name),
      isRejected: (name) => this.#isIn(this.#setAside, name),
      hasRemovedDevices: (user) => [...this.#removals.keys()].some((name) => name.startsWith(`${user}/`)),
    })
  }

  /** Number of a user's messages that were set aside. */
  setAsideOf(user: string): number {
    return [...this.#setAside].filter((name) => name.startsWith(`${user} `)).length
  }

  /** Number of a user's messages that were not handled, and that may be stored or not. */
  unknownOf(user: string): number {
    const posts = Array.from(this.#posts.values()).filter(
      ({ outcome, key }) => outcome === 'unknown' || this.#inDoubt.has(key),
    )
    const recipients = this.#parts.mail.programs.filter((program) => program.user === user)
    const isHandled = ({ key }: Post) => recipients.every(({ recipient }) => this.#handled.has(`${recipient} ${key}`))
    return posts.filter((post) => this.#users(post).includes(user) && !isHandled(post)).length
  }

  /** Whether the storage may have lost records of messages or of uploads. */
  get hasLosses(): boolean {
    const { rot } = this.#parts.disk
    return this.#hasLost || rot.any || rot.anyUpload
  }

  get posts(): Iterable<Post> {
    return this.#posts.values()
  }

  /** Whether everything that was sent is settled. */
  get areSettled(): boolean {
    return this.#open.size === 0 && this.lost.size === this.#missing.size && this.receipts.owed.length === 0
  }

  /** `user key` of the messages that were not handled and cannot be, because their record was damaged. */
  get lost(): ReadonlySet<string> {
    return new Set([...this.#missing].filter((name) => this.isDamaged(name.slice(name.indexOf(' ') + 1))))
  }

  /** A program is about to send a message for the first time. */
  added(post: Post): void {
    this.#open.add(post)
    if (!post.forged) this.#posts.set(post.key, post)
  }

  /** A server is about to send a message itself. It can be delivered before the server knows that it is stored. */
  noticed(post: Post): void {
    post.outcome = 'unknown'
    this.#posts.set(post.key, post)
  }

  /** A program on the simulated storage has stored it, or has refused it for now. */
  stored(sender: string, id: Uint8Array): void {
    const key = keyOf(sender, id)
    const isKnown = this.#stored.has(key)
    this.#stored.add(key)
    // A device can become known after an earlier attempt has stored the message, when others may have handled it.
    if (isKnown || this.#attempts.get(key) !== 1) return
    for (const user of this.#posts.get(key)?.to ?? [])
      for (const device of this.#devices.get(user) ?? []) this.#require(recipientOf(user, device), key)
  }

  /** Called before the storage appends a message. */
  appending(sender: string, id: Uint8Array): void {
    const key = keyOf(sender, id)
    this.#attempts.set(key, (this.#attempts.get(key) ?? 0) + 1)
  }

  /** Called when a device becomes known. It must receive these waiting messages and all later ones. */
  opened(user: string, device: string, waiting: readonly Pick<StoredMessage, 'sender' | 'id'>[]): void {
    const devices = this.#devices.get(user) ?? new Set()
    this.#devices.set(user, devices.add(device))
    for (const { sender, id } of waiting) this.#require(recipientOf(user, device), keyOf(sender, id))
  }

  /** A device is removed. When it becomes known again, it receives all waiting messages, also those that it has handled. */
  removed(user: string, device: string): void {
    const recipient = recipientOf(user, device)
    this.#removals.set(recipient, (this.#removals.get(recipient) ?? 0) + 1)
    this.#devices.get(user)?.delete(device)
    for (const name of this.#missing) if (name.startsWith(`${recipient} `)) this.#missing.delete(name)
  }

  /** Returns a function that returns whether a device was not removed since this call. */
  isUnremoved(user: string, device = ''): () => boolean {
    const recipient = recipientOf(user, device)
    const before = this.#removals.get(recipient)
    return () => this.#removals.get(recipient) === before
  }

  isKnown(user: string, device: string): boolean {
    return this.#devices.get(user)?.has(device) ?? false
  }

  #require(recipient: string, key: string): void {
    const name = `${recipient} ${key}`
    // Others may expire before the device has handled them.
    const post = this.#posts.get(key)
    if (post && post.timeToLiveMs === undefined && !this.#handled.has(name)) this.#missing.add(name)
  }

  /**
   * The storage is about to lose its changes. Returns a function that is called when they are lost, and returns the messages that
   * are lost with them. Other messages can be delivered again.
   */
  losing(): () => readonly Post[] {
    const stored = new Set(this.#stored)
    const refused = new Set(this.#refusedForNow)
    return () => {
      this.#hasLost = true
      const lost = [...this.#stored].filter((key) => !stored.has(key))
      for (const key of [...lost, ...[...this.#refusedForNow].filter((each) => !refused.has(each))])
        this.#inDoubt.add(key)
      for (const key of lost) {
        this.#stored.delete(key)
        this.#attempts.delete(key)
      }
      for (const key of this.#stored) this.#repeatable.add(key)
      // Devices can be lost as well. They become known when they are opened again.
      this.#devices.clear()
      for (const name of this.#missing) if (name.includes('/')) this.#missing.delete(name)
      return lost.flatMap((key) => this.#posts.get(key) ?? [])
    }
  }

  isStored(sender: string, id: Uint8Array): boolean {
    return this.#stored.has(keyOf(sender, id))
  }

  /** `isStored`: the message may still be stored. */
  refusedForNow(sender: string, id: Uint8Array, isStored = false): void {
    const key = keyOf(sender, id)
    this.#refusedForNow.add(key)
    if (!isStored) this.#attempts.delete(key)
  }

  acknowledged(post: Post, states: readonly RecipientState[]): void {
    const why = this.#mustFail(post)
    if (why) this.#fail(`${post.name} was sent, and not refused: ${why}`)
    if (!this.#stored.has(post.key) && !this.#inDoubt.has(post.key))
      this.#fail(`${post.name} is acknowledged and not stored`)
    const named = states.map(({ recipient }) => recipient)
    if (named.join() !== post.recipients.join()) this.#fail(`${post.name} was acknowledged for ${named.join()}`)
    this.#settle(post, 'acknowledged')
    if (post.asksReceipts) this.receipts.asked(post, this.#users(post))
    // Others may expire before a handler has completed them.
    if (post.timeToLiveMs !== undefined) return
    for (const user of this.#users(post)) {
      const name = `${user} ${post.key}`
      if (!this.#handled.has(name)) this.#missing.add(name)
    }
  }

  /** Its program was informed that no recipient gets it. */
  refused(post: Post, why: OspError): void {
    const { code, recipients = [] } = why
    const must = this.#mustFail(post)
    const isTaken = code === 'id-reused' && this.isDamaged(post.key)
    if (code !== must && !isTaken && (must || !passing.includes(code)))
      this.#fail(`${post.name} was refused: ${code}: ${why.message}`)
    if (recipients.some((user) => !post.to.includes(user)))
      this.#fail(`${post.name} was refused for ${recipients.join()}`)
    if (!post.forged && !this.isDamaged(post.key)) this.#neverStored(post, code)
    this.#settle(post, 'refused')
  }

  /**
   * Its program was informed that it was not sent, or that the outcome is unknown; it sends the message again, unless
   * it was aborted. `isStored`: it may be in an outbox.
   */
  unsent(post: Post, isUnknown: boolean, isStored: boolean): void {
    if (!isUnknown && !isStored && !post.forged && post.calls === 1) this.#neverStored(post, 'unsent')
    if (post.isAborted) this.#settle(post, isUnknown || post.calls > 1 || isStored ? 'unknown' : 'refused')
  }

  /**
   * Its outbox has dropped it, because it may be stored or not. If its program has sent it twice, later messages can precede it.
   * `isSentAgain`: a call of its program is pending, whose result is decisive.
   */
  forgotten(post: Post, isSentAgain: boolean): void {
    this.#refusedForNow.add(post.key)
    if (!isSentAgain) this.#settle(post, 'unknown')
  }

  /** A message is passed to the handler of a program. Returns the message. */
  handedOver(actor: MessageActor, run: MessageRun, { from, id, content, attempt }: Message): Post {
    const key = keyOf(from, bytesOfHex(id))
    const post = this.#posts.get(key)
    if (!post) throw this.#fail(`${run.process.name} received a message that no program has sent: ${key}`)
    // Its id was forgotten, and may now belong to another message.
    if (this.isDamaged(key)) return this.#again(actor, run, post)
    const { name } = post
    if (!post.to.includes(actor.user)) this.#fail(`${actor.user} received ${name}, which was not sent to this user`)
    if (!sameBytes(post.content, content)) this.#fail(`${name} was delivered with other content`)
    if (post.outcome === 'refused') this.#fail(`${name} was delivered, although it was refused`)
    if (run.inHand >= run.concurrency)
      this.#fail(`${run.process.name} received ${name} while its handlers were running`)
    run.inHand++
    this.#count(actor, run, post, attempt)
    this.#reach(post, actor.recipient)
    return post
  }

  /** Checks that a message comes again only as a further attempt. */
  #count(actor: MessageActor, run: MessageRun, { key, name }: Post, attempt: number): void {
    const before = this.#handedTo(actor).get(key)
    const isRetried = before?.run === run && before.throws > 0
    this.#handedTo(actor).set(key, { run, throws: isRetried ? before.throws : 0 })
    // A device that was removed is a new one, and its client keeps a limited number of receipts.
    if (this.#removals.has(actor.recipient)) return
    if (this.#kept.get(actor)?.has(key)) this.#fail(`${run.process.name} received ${name}, whose receipt it has stored`)
    if (this.#repeatable.has(key)) return
    if (before && attempt <= 1 && !isRetried) this.#fail(`${run.process.name} received ${name} again as attempt 1`)
    const first = this.#first.get(`${actor.recipient} ${key}`) ?? actor
    if (attempt <= 1 && first !== actor) {
      this.#fail(`${run.process.name} received ${name} as attempt 1, as ${first.name} did`)
    }
    if (attempt <= 1) this.#first.set(`${actor.recipient} ${key}`, first)
  }

  /** Its handler has returned, or thrown. */
  handled(actor: MessageActor, run: MessageRun, post: Post, thrown: boolean): void {
    run.inHand--
    const throws = (this.#handedTo(actor).get(post.key)?.throws ?? 0) + (thrown ? 1 : 0)
    this.#handedTo(actor).set(post.key, { run, throws })
    if (thrown && throws % clientLimits.handlerTries !== 0) return
    if (thrown) this.#setAside.add(`${actor.user} ${post.key}`)
    for (const recipient of new Set([actor.user, actor.recipient])) {
      this.#handled.add(`${recipient} ${post.key}`)
      this.#missing.delete(`${recipient} ${post.key}`)
    }
  }

  /** The receipt of a message is durable. */
  kept(actor: MessageActor, { seq, sender, id }: Receipt): void {
    this.#keptPlaces.add(`${actor.recipient} ${seq}`)
    const kept = this.#kept.get(actor) ?? new Set()
    this.#kept.set(actor, kept.add(`${sender} ${id}`))
  }

  /** Returns whether any program of a recipient has stored a receipt of the message at this place in the mailbox. */
  isKept(recipient: string, place: number): boolean {
    return this.#keptPlaces.has(`${recipient} ${place}`)
  }

  /** The presence list of a program contains a user. */
  listed({ name }: SimulatedProcess, { user }: PresenceMember): void {
    if (!this.#parts.mail.users.includes(user)) this.#fail(`the list of ${name} has ${user}, who does not exist`)
  }

  listedWhole(process: SimulatedProcess, members: readonly PresenceMember[]): void {
    for (const member of members) this.listed(process, member)
    if (new Set(members.map(({ node }) => node)).size !== members.length)
      this.#fail(`${process.name} lists a node twice`)
  }

  /** Called after every step: no user is online twice, and the limit of clients holds. */
  check({ online }: Pick<ServerStatus, 'online'> = { online: [] }): void {
    if (online.length > this.#parts.limits.clients) this.#fail(`${online.length} clients are registered`)
    if (new Set(online.map(({ user }) => user)).size !== online.length) this.#fail('a user is online twice')
  }

  /** Checks, some time after all faults have stopped, that everything has finished. */
  settled(): void {
    this.receipts.settled()
    for (const { name } of this.#open) this.#fail(`${name} is neither sent nor refused`)
    const { lost } = this
    for (const name of this.#missing) {
      if (lost.has(name)) continue
      const [user, ...key] = name.split(' ')
      this.#fail(`${user} never received ${this.#posts.get(key.join(' '))?.name}, which was acknowledged`)
    }
  }

  /** Checks that the first deliveries to a recipient are in the order in which a program has sent the messages. */
  #reach(post: Post, recipient: string): void {
    const name = `${recipient} ${post.key}`
    if (this.#reached.has(name)) return
    this.#reached.add(name)
    this.delivered++
    if (this.#refusedForNow.has(post.key)) return
    const way = `${post.program} ${recipient}`
    const latest = this.#latest.get(way) ?? 0
    if (post.number < latest) this.#fail(`${recipient} received ${post.name} after number ${latest}`)
    this.#latest.set(way, Math.max(latest, post.number))
  }

  #handedTo(actor: MessageActor): Map<string, Handed> {
    const handed = this.#handed.get(actor) ?? new Map<string, Handed>()
    this.#handed.set(actor, handed)
    return handed
  }

  #again(actor: MessageActor, run: MessageRun, post: Post): Post {
    run.inHand++
    this.#handedTo(actor).set(post.key, { run, throws: 0 })
    return post
  }

  /** Returns the permanent refusals of a post; an id is forgotten with its record. */
  #mustFail(post: Post): string | undefined {
    const why = post.mustFail(this.#parts.limits.recipients)
    return why === 'id-reused' && this.isDamaged(post.key) ? undefined : why
  }

  /** Returns whether the record of a message may be lost. */
  isDamaged(key: string): boolean {
    return this.#parts.disk.rot.hasHit(key) || this.#inDoubt.has(key)
  }

  #neverStored(post: Post, code: string): void {
    if (this.#stored.has(post.key)) this.#fail(`${post.name} is stored, and its program received: ${code}`)
    for (const user of this.#users(post)) {
      const names = this.#parts.mail.programs.flatMap((program) => (program.user === user ? program.recipient : []))
      if (names.some((name) => this.#reached.has(`${name} ${post.key}`)))
        this.#fail(`${post.name} has reached ${user}, and was refused`)
    }
  }

  #settle(post: Post, outcome: Post['outcome']): void {
    if (post.outcome === 'acknowledged') return
    post.outcome = outcome
    this.#open.delete(post)
  }

  #users({ to }: Post): readonly string[] {
    return this.#parts.mail.users.filter((user) => to.includes(user))
  }

  /** Returns whether a user, or one of the devices of the user, has a message: `name` is `user key`. */
  #isIn(names: ReadonlySet<string>, name: string): boolean {
    const [user = '', ...key] = name.split(' ')
    const recipients = [user, ...Array.from(this.#devices.get(user) ?? [], (device) => recipientOf(user, device))]
    return recipients.some((recipient) => names.has([recipient, ...key].join(' ')))
  }

  #fail(what: string): Error {
    this.#parts.trace.fail(what)
    return new Error(what)
  }
}
