import { MemorySharedStore } from '../../../lib/adapters/memory/sharedStore.ts'
import { type Limits, limitsWith } from '../../../lib/limits.ts'
import type { LogEntry } from '../../../lib/ports/log.ts'
import type { DigestName, Digests, Platform } from '../../../lib/ports/platform.ts'
import { digestNumbers } from '../../../lib/wire/protocol.ts'
import { SeededRandom } from '../../support/random.ts'
import { Bounds } from '../bounds.ts'
import type { ClientActor } from '../clientActor.ts'
import { SimulatedDisk } from '../disk.ts'
import { Faults, type Part, whole } from '../faults.ts'
import { notified } from '../fileNotices.ts'
import type { SimulatedFile } from '../files.ts'
import { generateNetworkFaults, generateReceipts, largeMailboxes, noQuota } from '../generated.ts'
import { HandledUploads } from '../handledUploads.ts'
import type { Invariants } from '../invariants.ts'
import { generateMailLimits, Mail, type MailServer } from '../mail.ts'
import { SimulatedNetwork } from '../network.ts'
import { platformOf } from '../placeWatch.ts'
import type { Breakpoint, Machine, SimulatedProcess } from '../process.ts'
import type { Program } from '../program.ts'
import { Queues } from '../queues.ts'
import { StoredFiles } from '../storedFiles.ts'
import { VirtualTime } from '../time.ts'
import { Tokens } from '../tokens.ts'
import { Trace } from '../trace.ts'
import { SimulatedHook } from '../uploadHook.ts'
import type { RunReport } from '../world.ts'
import { type ClusterKind, ClusterMix, type ClusterParts } from './clusterActions.ts'
import { ClusterServer } from './clusterServer.ts'
import { LeaseWatch } from './leaseWatch.ts'
import { PollProbe } from './pollProbe.ts'
import { RegistrationWatch } from './registrationWatch.ts'
import { RollingRestart } from './rollingRestart.ts'
import { generateFileLimits, SentFiles } from './sentFiles.ts'
import { StoreLoss } from './storeLoss.ts'
import { StorePaths } from './storePath.ts'
import { StoreWatch } from './storeWatch.ts'

/** Number of actions in a run. */
const actionCount = 80
const mostSteps = 400_000
/** Maximum time for all work to finish after the faults have stopped. */
const settlingMs = 1_800_000
/** Time for removing messages from their mailboxes after their handlers have returned. */
const removalMs = 10_000
/** Time after which programs that look settled are checked again: a broken link may not have been noticed. */
const waningMs = 40_000

/** Maximum time until a server finds by polling that an upload has ended at another one. */
const findingMs = 5_000
/** Time in which a server reports the files of a dead one. */
const reportingMs = 60_000

/** The servers of a cluster, as the messages of a world see them. */
class Servers implements MailServer {
  readonly all: readonly ClusterServer[]
  /** `StoreLoss` checks that losses are reported. */
  readonly hasReportedLoss: boolean

  /** The mailboxes of the store itself, which takes no time. */
  readonly mailboxes: MailServer['mailboxes']

  constructor(all: readonly ClusterServer[], losesSteps: boolean, mailboxes: MailServer['mailboxes']) {
    this.all = all
    this.hasReportedLoss = losesSteps
    this.mailboxes = mailboxes
  }

  /** Whether a server may have been declared dead: what it was doing then ends with `internal`. */
  get hasFailed(): boolean {
    return this.all.some(({ hasBeenAway }) => hasBeenAway)
  }

  get hasLostLease(): boolean {
    return this.hasFailed
  }

  /** The list of online users if all servers have the same. */
  get server(): MailServer['server'] {
    const lists = this.all.map(({ server }) => server?.status().online ?? [])
    const words = lists.map((list) => JSON.stringify([...list].sort((a, b) => a.node - b.node)))
    const [first = []] = lists
    return new Set(words).size === 1 ? { status: () => ({ online: first }) } : undefined
  }

  kill(): boolean {
    for (const server of this.all) server.kill()
    return true
  }

  start(): void {
    for (const server of this.all) server.start()
  }
}

/** Several servers behind a balancer, the store and the tree of files that they share, and programs, generated from a seed. */
export class ClusterWorld implements ClusterParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly faults: Faults
  readonly network: SimulatedNetwork
  readonly paths: StorePaths
  readonly limits: Limits
  readonly tokens: Tokens
  readonly bounds: Bounds
  readonly queues: Queues
  readonly disk: SimulatedDisk
  readonly server: Servers
  readonly mail: Mail
  readonly sent: SentFiles
  readonly restarts: RollingRestart
  readonly loss: StoreLoss
  readonly breakpoints: Breakpoint[] = []
  /** Whether the actions have ended. */
  healed = false
  readonly stored: StoredFiles
  readonly hook = new SimulatedHook()
  readonly handled = new HandledUploads(this)
  /** No message lies on the simulated disk. */
  readonly place = {}
  /** Randomness of the current action: leaving out one action changes nothing about the others. */
  dice: SeededRandom
  readonly #seed: number
  readonly #part: Part
  readonly #actions: ClusterMix
  readonly #applied: number[] = []
  readonly #nodes = new Set<number>()
  readonly #hasFiles: boolean
  /** Whether programs receive messages. */
  readonly #hasMail: boolean
  readonly #store: MemorySharedStore
  readonly #stored: StoreWatch
  readonly #leases = new LeaseWatch(this)
  readonly #probe: PollProbe
  /** The limits with which servers start. */
  readonly #chosen: { limits: Partial<Limits> } = { limits: {} }
  #steps = 0

  constructor(seed: number, digests: Digests, kind: ClusterKind, part: Part = whole) {
    this.#hasFiles = kind !== 'cluster-messages'
    const sendsMessages = kind !== 'cluster-files'
    const random = new SeededRandom(seed)
    const time = new VirtualTime()
    this.#seed = seed
    this.#part = part
    this.dice = random
    this.trace = new Trace(time)
    this.machine = { time, random, digests }
    this.faults = new Faults(random, part.without)
    const network = generateNetworkFaults(random, this.faults)
    this.network = new SimulatedNetwork(this.machine, { ...network, reliable: true, loss: 0, duplication: 0 })
    this.tokens = new Tokens(time, random.pick([0, 40], 'time to know users'))
    const delayMs = random.pick([1, 5, 100], 'time of a step of the store')
    this.paths = new StorePaths(this.machine, delayMs, this.faults.lasts('lost answers of the store', [0.02, 0.2], 0))
    this.disk = new SimulatedDisk(random, 1, undefined)
    const losesSteps = random.fork('losses of the store').chance(0.1, 'it loses steps')
    const hasOlder = this.faults.comes('servers of the previous release', 0.2)
    const usesStored = this.#hasFiles && this.faults.comes('stored files', hasOlder ? 0.8 : 0.3)
    this.#actions = new ClusterMix(random, this.faults, kind, { usesStored, hasOlder })
    const chosen = this.#chosen
    const store = new MemorySharedStore(this.#platformOfStore())
    this.#store = store
    const servers = this.#createServers(random, () => chosen.limits, hasOlder)
    const { mail: stored, open } = store.steps()
    void open()
    this.server = new Servers(servers, losesSteps, { levels: () => stored.levels(Number.MAX_SAFE_INTEGER) })
    this.restarts = new RollingRestart(this.machine, () => servers)
    this.network.balance = balancer(random, this.restarts)
    this.limits = limitsWith({})
    this.queues = new Queues(this.trace, time, this.limits)
    // Beside a server of the previous release, messages about files can be lost, and devices are refused.
    const sendsNotices = usesStored && !hasOlder && random.fork('messages about files').chance(0.5, 'notify')
    this.mail = new Mail(this, { any: sendsMessages, hasDevices: !hasOlder, sendsNotices })
    this.#hasMail = this.mail.programs.length > 0
    chosen.limits = this.#generateLimits(random)
    this.limits = limitsWith(chosen.limits)
    const { trace, limits, disk } = this
    this.bounds = new Bounds({ trace, time, limits, network: this.network, disk })
    this.stored = new StoredFiles(this)
    Object.assign(this.stored.notices, { isOn: sendsNotices, isShared: true })
    this.sent = new SentFiles(this, this.#hasFiles, usesStored)
    this.hook.isOn = usesStored && random.fork('onUpload').chance(0.4, 'the servers decide about uploads')
    for (const file of this.files) file.hook = this.hook
    if (sendsNotices) generateReceipts(this)
    this.#stored = new StoreWatch(this)
    this.loss = new StoreLoss(this, losesSteps, () => store.saved(), this.#stored)
    const registrations = new RegistrationWatch(this)
    this.#probe = new PollProbe(this, this.#stored, registrations)
    const { opened } = this.network
    this.network.opened = (link) => {
      opened(link)
      this.mail.watch.watch(link)
      registrations.watch(link)
    }
  }

  #createServers(random: SeededRandom, limits: () => Partial<Limits>, hasOlder: boolean): readonly ClusterServer[] {
    const parts = {
      trace: this.trace,
      machine: this.machine,
      network: this.network,
      tokens: this.tokens,
      paths: this.paths,
      hook: this.hook,
      notify: () => (this.stored.notices.isOn ? [{ user: notified }] : []),
      bounds: { ended: (...ended: Parameters<Bounds['ended']>) => this.bounds.ended(...ended) },
      steps: (process: SimulatedProcess, isOlder: boolean) => {
        const steps = this.#store.steps(isOlder)
        const watched = this.#leases.watched(process, this.#stored.watched(process, steps))
        return this.#hasFiles ? this.sent.watched(watched) : watched
      },
      numbered: (node: number) => this.#numbered(node),
      openFiles: this.#hasFiles
        ? (...given: Parameters<SentFiles['filesOf']>) => this.sent.filesOf(...given)
        : undefined,
      breakpoints: this.breakpoints,
      logged: (entry: LogEntry) => this.sent.logged(entry),
      wentBack: (process: SimulatedProcess) => this.loss.reported(process),
    }
    const count = random.integer(2, 4, 'servers')
    const aheadMs = this.faults.lasts('clocks that differ', [5_000, 600_000], 0)
    return Array.from({ length: count }, (_, at) => {
      const own = random.fork(`the clock of server ${at + 1}`)
      const ahead = Math.round(own.fraction('how far a clock is ahead') * aheadMs)
      const isOlder = hasOlder && random.fork(`the release of server ${at + 1}`).chance(0.7, 'it is the previous one')
      return new ClusterServer(parts, `server-${at + 1}`, limits, { aheadMs: ahead, isOlder })
    })
  }

  /** A stored file was removed, or was given another name. */
  readonly removed = (user: string, name: string): void => this.sent.removed(user, name)

  get servers(): readonly ClusterServer[] {
    return this.server.all
  }

  get programs(): readonly Program[] {
    return [...this.clients, ...this.mail.programs]
  }

  get clients(): readonly ClientActor[] {
    return this.sent.clients
  }

  get files(): readonly SimulatedFile[] {
    return this.sent.files
  }

  get invariants(): Invariants {
    return this.sent.invariants
  }

  /** The clock of the store jumps when another store takes its place. */
  #platformOfStore(): Platform {
    const { time } = this.machine
    const ahead = (ms: number) => ms + this.paths.clockAheadMs
    const clock: Platform['clock'] = {
      now: () => ahead(time.now()),
      wallTime: () => ahead(time.wallTime()),
      alarm: (atMs, run) => time.alarm(atMs, run),
    }
    return { ...platformOf(this.machine), clock }
  }

  async run(): Promise<RunReport> {
    for (const name of Object.keys(digestNumbers) as DigestName[]) await this.machine.digests.load(name)
    this.server.start()
    for (const program of this.mail.programs) program.start()
    this.sent.start()
    const drawnMs = this.machine.random.pick([20, 100, 200, 2_000], 'time between two actions')
    // Losses are useful only while programs reach the store, which then is down for a while.
    const gapMs = this.loss.isPossible ? Math.max(1_000, drawnMs) : drawnMs
    await this.#until(this.#schedule(gapMs), () => false)
    if (!this.trace.failed) await this.#end()
    const { lines, failure } = this.trace
    const report = {
      seed: this.#seed,
      steps: this.#steps,
      virtualMs: this.machine.time.now(),
      published: this.sent.publications,
      delivered: this.mail.invariants.delivered,
      trace: [...lines],
      failure,
      actions: this.#applied,
      names: [...this.faults.lasting, ...this.programs.map(({ name }) => name), ...this.files.map(({ path }) => path)],
    }
    for (const program of this.programs) program.letGo()
    for (const server of this.servers) server.kill()
    await microtasks()
    return report
  }

  async #until(endMs: number, done: () => boolean): Promise<void> {
    while (!this.trace.failed && !done() && this.machine.time.step(endMs)) {
      await microtasks()
      this.#check()
      if (++this.#steps > mostSteps) this.trace.fail(`the run takes more than ${mostSteps} steps`)
    }
  }

  /** Checks after every step that no server lists a user twice, and that all files are as acknowledged. */
  #check(): void {
    if (this.#hasFiles) this.sent.check()
    if (this.#hasMail) this.mail.watch.check()
    for (const { name, server } of this.servers) {
      const users = (server?.status().online ?? []).map(({ user }) => user)
      if (new Set(users).size !== users.length) this.trace.fail(`${name} lists a user twice: ${users.join(', ')}`)
    }
  }

  /** Lets all faults stop: all work must finish, all servers must list the same users, and everything must end. */
  async #end(): Promise<void> {
    const { time } = this.machine
    this.trace.tell('everything heals')
    this.network.heal()
    this.loss.heal()
    this.paths.heal()
    this.restarts.end()
    this.#liftQuota()
    for (const server of this.servers) server.heal()
    this.healed = true
    this.sent.heal()
    // Servers that are frozen, or freeze at an effect, continue by themselves while the others work.
    await this.#until(time.now() + settlingMs, () => this.sent.isSettled)
    this.breakpoints.length = 0
    await this.#until(time.now() + settlingMs, () => this.servers.every(({ process }) => !process?.frozen))
    for (const server of this.servers) server.heal()
    if (this.#hasMail) await this.#settleMail()
    if (this.#hasFiles) await this.#settleFiles()
    if (this.trace.failed) return
    this.mail.leave()
    for (const program of this.programs) program.end()
    await this.#until(time.now() + settlingMs, () => this.programs.every(({ running }) => !running))
    await this.#until(time.now() + settlingMs, () => this.servers.every(({ server }) => server))
    for (const server of this.servers) server.stop()
    await this.#until(time.now() + settlingMs, () => this.servers.every(({ process }) => !process))
    const left = this.servers.filter(({ process }) => process).map(({ name }) => name)
    if (left.length > 0) this.trace.fail(`${left.join(', ')} did not end`)
    if (this.#hasFiles && !this.trace.failed) await this.#endFiles()
  }

  async #settleMail(): Promise<void> {
    this.mail.heal()
    if (this.stored.notices.isOn) {
      await this.#until(this.machine.time.now() + settlingMs, () => this.handled.isSettled)
      this.handled.settled()
    }
    await this.#calm()
    if (!this.trace.failed && this.mail.isSettled) {
      this.mail.shake()
      await this.#calm()
    }
    await this.#probeMail()
    if (!this.trace.failed) await this.mail.settled()
  }

  /** Sends a message to each user while no notification arrives. */
  async #probeMail(): Promise<void> {
    this.#probe.begin()
    for (const user of this.mail.users) {
      if (this.trace.failed || !this.mail.isSettled) return
      this.#probe.send(user)
      await this.#until(this.machine.time.now() + settlingMs, () => this.mail.isSettled)
    }
    this.#probe.end()
    // The last messages leave their mailboxes after their handlers have returned.
    await this.#until(this.machine.time.now() + removalMs, () => false)
  }

  async #settleFiles(): Promise<void> {
    const { time } = this.machine
    const { sent } = this
    await this.#until(time.now() + settlingMs, () => sent.isSettled && this.stored.isSettled)
    this.stored.describeAll()
    await this.#until(time.now() + settlingMs, () => this.stored.isSettled)
    this.stored.settled()
    // A server reports the files of another one after it has declared that one dead.
    if (this.stored.notices.isOn) await this.#until(time.now() + reportingMs, () => false)
    // A server finds within a few seconds that another one has taken over an upload, even without a notification.
    await this.#until(time.now() + findingMs, () => sent.receivingLost.length === 0)
    if (this.trace.failed) return
    sent.checkNone(sent.receivingLost)
    // The link of a program that was killed ends by its keep-alive.
    await this.#until(time.now() + waningMs, () => sent.receiving.length === 0)
    if (this.trace.failed) return
    sent.checkNone(sent.receiving)
    this.invariants.settled()
  }

  async #endFiles(): Promise<void> {
    const steps = this.#store.steps()
    await steps.open()
    let isOver = false
    const all = async function* () {
      yield* await steps.transfers.records(undefined, undefined, Number.MAX_SAFE_INTEGER)
    }
    const read = async (user: string, afterSeq: number, most: number, mostBytes: number) =>
      (await steps.mail.read([{ user, afterSeq }], most, mostBytes))[0] ?? []
    void this.sent
      .end({ all })
      .then(() => this.stored.notices.settled({ read }))
      .then(() => {
        isOver = true
      })
    await this.#until(this.machine.time.now() + settlingMs, () => isOver)
  }

  /** Removes the limits that could prevent files, or messages about them, from being stored. */
  #liftQuota(): void {
    if (this.limits.userBytes < noQuota.userBytes) this.#chosen.limits = { ...this.#chosen.limits, ...noQuota }
    if (this.stored.notices.isOn) this.#chosen.limits = { ...this.#chosen.limits, ...largeMailboxes }
  }

  #generateLimits(random: SeededRandom): Partial<Limits> {
    const forFiles = this.#hasFiles ? generateFileLimits(random, this.faults) : {}
    return { ...forFiles, ...generateMailLimits(random, this.mail, this.#hasFiles) }
  }

  async #calm(): Promise<void> {
    const { time } = this.machine
    await this.#until(time.now() + settlingMs, () => this.mail.isSettled)
    await this.#until(time.now() + waningMs, () => false)
    await this.#until(time.now() + settlingMs, () => this.mail.isSettled)
  }

  /** Returns the time of the last action. */
  #schedule(gapMs: number): number {
    const { time, random } = this.machine
    const { actions: chosen } = this.#part
    let atMs = 0
    for (let number = 1; number <= actionCount; number++) {
      const dice = random.fork(`action ${number}`)
      atMs += dice.fraction('time until the action') * 2 * gapMs
      if (chosen?.includes(number) ?? true) time.alarm(atMs, () => this.#apply(number, dice))
    }
    return atMs
  }

  #apply(number: number, dice: SeededRandom): void {
    this.dice = dice
    this.trace.headed(() => {
      const name = this.#actions.apply(this)
      if (name === undefined) return undefined
      this.#applied.push(number)
      return `${number}: ${name}`
    })
  }

  #numbered(node: number): void {
    if (this.#nodes.has(node)) this.trace.fail(`two links have the number ${node}`)
    this.#nodes.add(node)
  }
}

/** Returns how a balancer of this world chooses among the servers that listen. */
function balancer(random: SeededRandom, restarts: RollingRestart): SimulatedNetwork['balance'] {
  const own = random.fork('the balancer')
  const policy = own.pick(['in turn', 'any', 'another'] as const, 'how the balancer chooses')
  const isHealthChecked = own.chance(0.5, 'the balancer checks the health of servers')
  let turn = 0
  let last: SimulatedProcess | undefined
  return (listening) => {
    const isFit = ({ alive, frozen }: SimulatedProcess) => !isHealthChecked || (alive && !frozen)
    const open = listening.filter((server) => restarts.isOpen(server) && isFit(server))
    const servers = open.length > 0 ? open : listening
    const others = policy === 'another' && servers.length > 1 ? servers.filter((server) => server !== last) : servers
    if (others.length === 0) return undefined
    last = policy === 'in turn' ? others[turn++ % others.length] : own.pick(others, 'a server for a link')
    return last
  }
}

/** Resolves when every promise that can be settled has been settled: ticks run after all queued microtasks. */
const microtasks = () => new Promise<void>((resolve) => process.nextTick(resolve))
