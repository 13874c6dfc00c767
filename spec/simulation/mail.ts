import type { Limits } from '../../lib/limits.ts'
import type { MailboxLevel, MailboxStore } from '../../lib/ports/mailboxes.ts'
import type { ServerStatus } from '../../lib/server/status.ts'
import { Mailboxes } from '../../lib/storage/mailboxes/mailboxes.ts'
import { append } from '../../lib/testing/storage/mailSteps.ts'
import type { SeededRandom } from '../support/random.ts'
import type { Bounds } from './bounds.ts'
import type { SimulatedDisk } from './disk.ts'
import type { Faults } from './faults.ts'
import { notified } from './fileNotices.ts'
import { largeMailboxes, mostSenders } from './generated.ts'
import { SimulatedJournal } from './journal.ts'
import { LinkWatch } from './linkWatch.ts'
import { MessageActor } from './messageActor.ts'
import { MessageInvariants } from './messageInvariants.ts'
import type { HandlerBehavior } from './messageRun.ts'
import type { SimulatedNetwork } from './network.ts'
import { type Machine, SimulatedProcess } from './process.ts'
import type { Queues } from './queues.ts'
import { SentIds } from './sentIds.ts'
import type { ServerActor } from './serverActor.ts'
import type { Tokens } from './tokens.ts'
import type { Trace } from './trace.ts'

/** Interval in which the programs are checked after all faults have stopped. */
const tendingMs = 500

const noBounds = {
  messages: Number.POSITIVE_INFINITY,
  bytes: Number.POSITIVE_INFINITY,
  allMessages: Number.POSITIVE_INFINITY,
  allBytes: Number.POSITIVE_INFINITY,
  receipts: Number.POSITIVE_INFINITY,
  senderIds: Number.POSITIVE_INFINITY,
  allIds: Number.POSITIVE_INFINITY,
  sharePercent: 100,
  reserveBytes: 0,
}

/** What the messages of a world need of its server, or of all its servers together. */
export interface MailServer extends Pick<ServerActor, 'hasReportedLoss' | 'hasFailed' | 'kill'> {
  /** Whether a server of several may have lost its lease. */
  readonly hasLostLease?: boolean
  readonly mailboxes: Pick<MailboxStore, 'levels'> | undefined
  readonly server: { status(): Pick<ServerStatus, 'online'> } | undefined
  start(): unknown
}

/** The parts of a world that its messages use. */
interface MailParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly faults: Faults
  readonly network: SimulatedNetwork
  readonly disk: SimulatedDisk
  readonly place: object | undefined
  readonly tokens: Tokens
  readonly limits: Limits
  readonly bounds: Pick<Bounds, 'ended'>
  readonly queues: Queues
  readonly server: MailServer
  readonly mail: Mail
  readonly dice: SeededRandom
}

/** The message part of a world: its users, their programs, and their messages. */
export class Mail {
  /** Users who can send and receive; none in a world of files. */
  readonly users: readonly string[]
  readonly programs: readonly MessageActor[]
  /** Whether programs send messages. */
  readonly hasSenders: boolean
  /** Whether the server sends messages about files. */
  readonly hasNotices: boolean
  /** Whether programs have outboxes: a message that is refused because of a limit would stay there. */
  readonly hasOutboxes: boolean
  readonly invariants: MessageInvariants
  readonly watch: LinkWatch
  readonly sentIds: SentIds
  temper: HandlerBehavior
  /** Maximum number of messages of a world at which handlers always throw. */
  poison: number
  /** The probability that a message asks for receipts. */
  readonly asking: number
  /** Message ids in use. */
  ids = 0
  readonly #parts: MailParts
  #left = false
  /** The waiting messages when all work has finished. */
  #waiting = textOf([])

  /** `any`: programs send messages. `hasDevices`: the server supports devices. `sendsNotices`: it sends messages about files. */
  constructor(
    parts: MailParts,
    { any, hasDevices, sendsNotices }: Record<'any' | 'hasDevices' | 'sendsNotices', boolean>,
  ) {
    this.#parts = parts
    const { random } = parts.machine
    this.invariants = new MessageInvariants(parts)
    this.watch = new LinkWatch(parts)
    this.hasSenders = any
    this.hasNotices = sendsNotices
    this.sentIds = new SentIds(parts)
    const users = any ? ['ann', 'ben', 'cem', 'dan'].slice(0, random.integer(2, 4, 'users of messages')) : []
    const lateFrom = any && random.chance(0.3, 'somebody comes late') ? users.length - 1 : users.length
    const others = any ? random.integer(0, 5 - users.length, 'more programs for messages') : 0
    const owners = [...users]
    for (let n = 0; n < others; n++) owners.push(random.pick(users, 'user of a program'))
    const outboxes = random.fork('outboxes')
    this.asking = any ? random.fork('receipts').pick([0, 0.3, 1], 'messages that ask for receipts') : 0
    this.hasOutboxes = any && outboxes.chance(0.3, 'programs have outboxes')
    const devices = random.fork('devices')
    const isWithDevices = any && hasDevices && devices.chance(0.5, 'users have devices')
    const named = new Set(users.filter(() => isWithDevices && devices.chance(0.8, 'a user has devices')))
    const programs = owners.map((user, at) => {
      const isFirst = owners.indexOf(user) === at
      const names = isFirst ? ['phone'] : ['phone', 'laptop', 'laptop']
      const device = named.has(user) ? devices.pick(names, 'a device') : undefined
      const [sends, listens] = random.pick(
        [
          [true, true],
          [true, true],
          [true, false],
          [false, true],
        ] as const,
        'use',
      )
      const isLate = users.indexOf(user) >= lateFrom
      const hasOutbox = this.hasOutboxes && outboxes.chance(0.7, 'a program has an outbox')
      return new MessageActor(parts, { name: `program-${at + 1}`, user, device, sends, listens, isLate }, hasOutbox)
    })
    if (sendsNotices) programs.push(...notifiedPrograms(parts, any, isWithDevices))
    this.programs = programs.filter(({ name }) => parts.faults.takesPart(name))
    this.users = [...users, notified, 'reader'].filter((user) => this.programs.some((program) => program.user === user))
    const handlers = any ? random : random.fork('handlers of messages about files')
    this.temper = {
      handlerMs: handlers.pick([1, 50, 2_000], 'time of handlers'),
      throwing: handlers.pick([0, 0, 0.1, 0.3], 'handlers throw'),
      dying: handlers.pick([0, 0, 0.1], 'programs are killed in handlers'),
    }
    this.poison = any ? random.pick([0, 0, 0, 1], 'messages that handlers always throw at') : 0
  }

  /** All faults have stopped: one program of each recipient listens, and the others end after they have sent everything. */
  heal(): void {
    this.temper = { ...this.temper, dying: 0 }
    const listening = new Set(this.recipients.map((recipient) => this.#listenerOf(recipient)))
    for (const program of this.programs) {
      program.isLate = false
      program.listens = listening.has(program)
      const { run } = program
      run?.process.thaw()
      // A run that was superseded, or that is ending, does no further work.
      if (!run || run.over || (program.listens && run.superseded)) program.kill()
      else if (program.listens) run.receive()
      else run.hush()
      program.start()
    }
    this.#tend()
  }

  /** After all work has finished, restarts everything, which must change nothing. */
  shake(): void {
    this.#parts.trace.tell('everything begins anew')
    this.#parts.server.kill(true, this.#parts.dice)
    for (const program of this.programs) program.kill()
    this.#parts.server.start()
  }

  /** Whether all work has finished; after all faults have stopped. */
  get isSettled(): boolean {
    const isRest = this.programs.every(
      ({ listens, running, run }) => listens === running && listens === (run !== undefined),
    )
    return this.invariants.areSettled && isRest && this.#agree
  }

  /**
   * Checks, some time after all faults have stopped, that the mailboxes have the right messages, even if they are read
   * again.
   */
  async settled(): Promise<void> {
    const { server, disk, place, machine } = this.#parts
    this.invariants.settled()
    for (const { user, run } of this.programs) {
      const list = [...(run?.client.presence ?? [])].map((member) => `${member.user} ${member.node}`)
      if (run) this.#parts.trace.tell(`${user} lists ${list.sort().join(', ')}`)
    }
    const { size: lost } = this.invariants.lost
    if (lost > 0 && !server.hasReportedLoss)
      this.#parts.trace.fail(`${lost} messages are lost, and the server did not report it`)
    if (!this.#agree)
      this.#parts.trace.fail(`the online users are ${this.#online.join(', ')}, and not all programs list exactly these`)
    const levels = (await server.mailboxes?.levels()) ?? []
    this.#waiting = textOf(levels)
    if (!disk.rot.any) for (const user of this.users) this.#checkWaiting(user, levels)
    // The world reads mailboxes below a layer, so its own reads are not checked; a storage of the user's own is read
    // when the server has ended.
    if (disk.layers.storage || place) return
    const process = new SimulatedProcess('a look at the end', machine)
    const mailboxes = new Mailboxes()
    await mailboxes.open(new SimulatedJournal(disk, process, 'messages', true), process.platform)
    await this.readAnew(mailboxes)
    await mailboxes.close()
  }

  #checkWaiting(user: string, levels: readonly MailboxLevel[]): void {
    const { messages = 0 } = levels.find((level) => level.user === user) ?? {}
    const setAside = this.invariants.setAsideOf(user)
    // They can wait behind a message that is retried. Those of its window can be handled at the same time.
    const isRetried = [...this.invariants.posts].some(({ poison, to }) => poison && to.includes(user))
    const most = setAside + this.invariants.unknownOf(user) + (isRetried ? this.#parts.limits.deliveryWindow - 1 : 0)
    if (messages < setAside || messages > most)
      this.#parts.trace.fail(`${messages} messages wait for ${user}, ${setAside} were set aside`)
  }

  /** Checks that the mailboxes have the same messages as before, and that no acknowledged message is stored again. */
  async readAnew(mailboxes: MailboxStore): Promise<void> {
    const found = textOf(await mailboxes.levels())
    // Messages with a time to live can have expired while the server ended.
    const canExpire = [...this.invariants.posts].some(({ timeToLiveMs }) => timeToLiveMs !== undefined)
    if (found !== this.#waiting && !canExpire) this.#parts.trace.fail(`read again, the mailboxes contain ${found}`)
    for (const { key, sender, id, body, recipients, outcome } of this.invariants.posts) {
      // The body of a message about a file depends on the time at which the server has sent it.
      if (outcome !== 'acknowledged' || !this.users.includes(sender) || this.#parts.disk.rot.hasHit(key)) continue
      await append(mailboxes, { sender, id, content: body, sentAt: 0, storedAt: 0 }, recipients, noBounds)
    }
    const after = textOf(await mailboxes.levels())
    if (after !== found) this.#parts.trace.fail(`a message that was sent before was stored again: ${after}`)
  }

  /** Stops the checks of programs. */
  leave(): void {
    this.#left = true
  }

  /** Called periodically: ends programs that have nothing left to do, and restarts those that have. */
  #tend(): void {
    if (this.#left) return
    for (const program of this.programs) {
      const { listens, isSending, run } = program
      if (run?.over || (listens && run?.superseded)) program.kill()
      if (listens || isSending) program.start()
      else program.end()
      if (listens && run?.receiving === false) run.receive()
    }
    const { time } = this.#parts.machine
    time.alarm(time.now() + tendingMs, () => this.#tend())
  }

  get #online(): readonly string[] {
    const online = this.#parts.server.server?.status().online ?? []
    return online.map(({ user, node }) => `${user} ${node}`).sort()
  }

  /** Whether each user is online once, and every running program knows it. */
  get #agree(): boolean {
    const online = this.#online
    if (online.length !== this.users.length) return false
    return this.programs.every(({ run }) => {
      const list = [...(run?.client.presence ?? [])].map(({ user, node }) => `${user} ${node}`)
      return !run || list.sort().join() === online.join()
    })
  }

  /** The users to whom programs can send files. */
  get readers(): readonly string[] {
    return this.users.filter((user) => user !== notified)
  }

  /** The devices, and the users without devices, that have programs. */
  get recipients(): readonly string[] {
    return [...new Set(this.programs.map(({ recipient }) => recipient))]
  }

  /** Returns the program that receives the remaining messages of a recipient: one that already listens, if there is one. */
  #listenerOf(recipient: string): MessageActor {
    const own = this.programs.filter((program) => program.recipient === recipient)
    const chosen = own.find(({ run }) => run?.receiving && !run.superseded) ?? own[0]
    if (!chosen) throw new RangeError(`${recipient} has no program`)
    return chosen
  }
}

/** Returns the programs that handle messages about files. `any`: other programs send messages, and can also receive files. */
function notifiedPrograms(parts: MailParts, any: boolean, hasDevices: boolean): readonly MessageActor[] {
  const own = parts.machine.random.fork('messages about files')
  if (own.chance(0.3, 'no program handles messages about files')) return []
  const device = hasDevices && own.chance(0.5, 'it is a device') ? 'phone' : undefined
  const sends = any && own.chance(0.5, 'it sends messages')
  const use = { name: 'program-files', user: notified, device, sends, listens: true, isLate: false }
  const reader = { ...use, name: 'program-reader', user: 'reader', device: undefined }
  return [use, ...(any ? [] : [reader])].map((each) => new MessageActor(parts, each, false))
}

const textOf = (levels: readonly MailboxLevel[]): string =>
  JSON.stringify(levels.map(({ user, messages, bytes }) => `${user}: ${messages} of ${bytes} bytes`).sort())

/**
 * Limits of messages: low, so that they are reached, but with space for all listening clients. In a world with files,
 * which may take minutes, the keep-alive interval is not so short that most events are pings.
 */
export function generateMailLimits(
  random: SeededRandom,
  { recipients, programs, hasOutboxes, hasSenders, hasNotices }: Mail,
  besideFiles: boolean,
): Partial<Limits> {
  if (!hasSenders) return hasNotices ? generateNoticeLimits(random) : {}
  const many = Number.MAX_SAFE_INTEGER
  // Programs that send files register to get receipts.
  const receiptClients = hasNotices ? mostSenders : 0
  const limited = (limit: number) => (hasOutboxes ? many : limit)
  return {
    keepAliveMs: random.pick([besideFiles ? 30_000 : 3_000, 15_000, 60_000], 'keep-alive'),
    recipients: random.pick([2, 3, 16], 'recipients of a message'),
    clients:
      receiptClients +
      random.integer(Math.max(1, Math.min(recipients.length + 1, programs.length)), programs.length + 1, 'clients'),
    gatherMs: random.pick([1, 50], 'time to gather changes'),
    mailboxMessages: limited(random.pick([3, 10, 10_000, 10_000], 'messages of a mailbox')),
    mailboxBytes: limited(random.pick([500, many, many], 'bytes of a mailbox')),
    waitingMessages: limited(random.pick([10, many, many], 'messages of all mailboxes')),
    messageStoreBytes: limited(
      random.fork('bytes of all mailboxes').pick([1_000, many, many], 'bytes of all mailboxes'),
    ),
    receipts: limited(random.fork('receipts of a user').pick([2, 10, many], 'receipts of a user')),
    senderIds: limited(random.pick([20, many, many], 'ids of a sender')),
    deliveryWindow: random.integer(1, 8, 'window of deliveries'),
    deliveryBytes: random.pick([1, 300, many], 'bytes of deliveries'),
    deliveryMemoryBytes: random.pick([1, 500, many], 'memory for deliveries'),
    deliveryMs: random.pick([300, 2_000, 10_000], 'time of a delivery'),
  }
}

/** The limits of mailboxes in a world in which programs get messages about files, and no others. */
function generateNoticeLimits(random: SeededRandom): Partial<Limits> {
  const { mailboxMessages, receipts } = largeMailboxes
  const own = random.fork('limits of messages about files')
  return {
    mailboxMessages: own.pick([1, 3, 10, mailboxMessages], 'messages of a mailbox'),
    receipts: own.pick([2, 10, receipts, receipts], 'receipts of a user'),
  }
}
