import { OspError } from '../../errors.ts'
import type { Log } from '../../ports/log.ts'
import type { Platform } from '../../ports/platform.ts'
import { hex } from '../../runtime/hex.ts'
import { PendingWork } from '../../runtime/pendingWork.ts'
import { HighestSeen } from './highestSeen.ts'
import type { PolledLinks } from './mailSteps.ts'
import { ignoreFailedStep, StepRetries } from './stepRetries.ts'
import { type Comparison, type Notice, OutcomeUnknown, type ServerInfo, type ServerState, type Steps } from './steps.ts'

/** The lease of a server, and the time between two renewals. */
const leaseMs = 10_000
const renewMs = 2_000
/**
 * The time for which all renewals must have been on time before this server declares others dead. After an outage of the store,
 * all leases have expired.
 */
const settledMs = 15_000
/** After this time without a reply, the log says that the store does not respond. */
const silentMs = 3_000
/** The time between two polls, the same time if no notifications arrive, and the time within which the first one must arrive. */
const pollMs = 1_000
const eagerPollMs = 100
const firstNoticeMs = 2_000

/** The state that a poll has read from the shared store. */
export interface Polled extends PolledLinks {
  /** The number of the poll. All of its steps began after `ClusterMember.polls` had this value. */
  readonly poll: number
  readonly servers: readonly ServerState[]
}

/** A component that is notified of changes in the shared store. */
export interface MemberListener {
  heard?(notice: Notice): void
  /** The next poll begins after the result has resolved. */
  polled?(found: Polled): Promise<void> | void
  /** The other servers have declared this server dead. It then joins again as a new server. */
  declaredDead?(): void
}

/** The membership of a server in a cluster: it joins, renews its lease, receives notifications and polls the shared store. */
export class ClusterMember implements AsyncDisposable {
  readonly #steps: Steps
  readonly #log: Log
  #info: Omit<ServerInfo, 'boot'>
  /** The random id of the latest entry. */
  #boot = ''
  readonly #listeners = new Set<MemberListener>()
  readonly #closing = new AbortController()
  readonly #loops = new PendingWork()
  #platform: Platform | undefined
  #retries: StepRetries | undefined
  #server = 0
  #isEntered = false
  /** When the step began to which the store does not respond, if the log says that. */
  #silentSinceMs: number | undefined
  #hearing: Disposable | undefined
  #hasHeard = false
  #openedMs = 0
  /** The time at which the step began that made or renewed the lease. The lease expires at least `leaseMs` after this time. */
  #leasedMs = 0
  #renewedMs = 0
  /** The time since which every renewal has been on time. */
  #settlingMs = 0
  /** The latest time of the age clock, and the time at which it was set. */
  #age = 0
  #agedMs = 0
  /** Whether a connection to the store was lost, so that the store may have gone back to an earlier state. */
  #isDoubtful = false
  /** Rises when another store may have replaced the former one, which may have contained further changes. */
  history = 0
  #timeline: string | null = null
  #comparing: Promise<void> | undefined
  #behind: Comparison | undefined
  /** Whether the former number now belongs to another server, because the store has gone back. */
  #isNumberLost = false
  /** The state of the store that was seen. */
  readonly seen = new HighestSeen()
  #isPollDue = false
  #isPolling = false
  /** The number of polls that have begun. */
  polls = 0
  /** The links of this server that have opened their sessions. Polls find those that other servers have replaced. */
  readonly links = new Set<number>()

  /** `steps` must not be open yet, and must be used by this server only. */
  constructor(steps: Steps, info: Omit<ServerInfo, 'boot'>, log: Log = () => {}) {
    this.#steps = steps
    this.#log = log
    this.#info = info
  }

  async open(platform: Platform): Promise<void> {
    this.#platform = platform
    await this.#steps.open()
    this.#retries = new StepRetries(platform.clock, this.#closing.signal)
    this.reached(await this.run((steps) => steps.lastTime()))
    await this.#enter()
    this.#openedMs = platform.clock.now()
    this.#loops.track(this.#every(renewMs, () => this.#renew()))
    this.#loops.track(this.#poll())
    this.#loops.track(this.#everyPoll())
  }

  /** The number of this server. It changes when the server joins again after it was declared dead. */
  get server(): number {
    return this.#server
  }

  /** The reason why this server is not ready for clients, or `undefined` while at least half of its lease is left. */
  get problem(): string | undefined {
    if (!this.#isEntered || this.#closing.signal.aborted)
      return 'this server has no lease in the database of the cluster'
    const unrenewedMs = this.platform.clock.now() - this.#leasedMs
    if (unrenewedMs <= leaseMs / 2) return undefined
    return `the database of the cluster has not renewed the lease of this server for ${Math.floor(unrenewedMs / 1_000)} s`
  }

  get platform(): Platform {
    if (!this.#platform) throw new OspError('closed', 'the storage is closed; open it first')
    return this.#platform
  }

  /** Aborts when the server leaves. */
  get closing(): AbortSignal {
    return this.#closing.signal
  }

  /** Throws OspError `closed` unless the server is open. */
  checkOpen(): void {
    if (!this.#retries || this.#closing.signal.aborted) {
      throw new OspError('closed', 'the storage is closed; open it first')
    }
  }

  /** Resolves after `ms`. Rejects with OspError `closed` if the server leaves first. */
  async wait(ms: number): Promise<void> {
    if (!this.#retries) throw new OspError('closed', 'the storage is closed; open it first')
    return this.#retries.wait(ms)
  }

  /**
   * Runs a step of the shared store until its outcome is known. After the loss of a connection, first compares the store with the
   * state that was seen.
   */
  async run<T>(step: (steps: Steps) => Promise<T>): Promise<T> {
    if (!this.#retries) throw new OspError('closed', 'the storage is closed; open it first')
    return this.#retries.run(async () => {
      try {
        if ((this.#isDoubtful || this.#comparing) && this.#boot !== '' && !this.#isNumberLost) await this.#compared()
        return await step(this.#steps)
      } catch (error) {
        if (error instanceof OutcomeUnknown) this.#isDoubtful = true
        throw error
      }
    })
  }

  /**
   * Runs a step under the number of this server. While the server has no number, the step waits, as it does for the store. Rejects
   * with OspError `link-lost` if the server gives up the number before the outcome is known.
   */
  async runAs<T>(step: (steps: Steps, server: number) => Promise<T>): Promise<T> {
    let own = this.#isEntered ? this.#server : undefined
    const result = await this.run((steps) => {
      if (own === undefined && !this.#isEntered) throw new OutcomeUnknown('this server has not entered the cluster')
      own ??= this.#server
      this.#checkNumber(own)
      return step(steps, own)
    })
    this.#checkNumber(own)
    return result
  }

  /** Notifies one server, or all servers. */
  tell(to: number | 'all', notice: Notice): Promise<void> {
    return this.#steps.tell(to, notice)
  }

  listen(listener: MemberListener): void {
    this.#listeners.add(listener)
  }

  /** Records the address on which this server listens, at the next renewal of the lease. */
  listensOn(address: string): void {
    this.#info = { ...this.#info, address }
  }

  /** Sets the time of the age clock, which is stored with the next renewal of the lease. */
  reached(age: number): void {
    if (age < this.#age) return
    this.#age = age
    this.#agedMs = this.platform.clock.now()
  }

  /** Stores the latest time of the age clock now. */
  async keepAge(): Promise<void> {
    await this.#extendLease()
  }

  /**
   * Resolves with the time in ms by which the slowest age clock of the other live servers is behind `now` (by default the latest
   * time of the age clock); at least 0.
   */
  async ageLag(now = this.#age): Promise<number> {
    const servers = await this.run((steps) => steps.servers())
    const ages = servers.flatMap(({ server, isDead, status }) =>
      server !== this.#server && !isDead && typeof status.age === 'number' ? status.age : [],
    )
    return Math.max(0, now - Math.min(now, ...ages))
  }

  /** Ends the lease, so that the other servers do not have to wait until it expires. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    this.#hearing?.[Symbol.dispose]()
    await this.#loops.settled()
    // If this fails, the other servers declare this one dead.
    if (this.#isEntered) await this.#steps.leave(this.#server).catch(() => {})
    await this.#steps[Symbol.asyncDispose]()
  }

  async #enter(): Promise<void> {
    const { clock, random } = this.platform
    const former = this.#server
    // Ends what the store still has under the number that this server has given up.
    if (former !== 0 && !this.#isNumberLost) await this.run((steps) => steps.leave(former))
    const boot = hex(random.bytes(16, 'the start of a server of a cluster'))
    const server = await this.#leased((steps) => steps.enter({ ...this.#info, boot }, leaseMs))
    this.#server = server
    this.#boot = boot
    this.seen.begin(server)
    this.#isNumberLost = false
    this.#isEntered = true
    this.history++
    this.#renewedMs = clock.now()
    this.#settlingMs = this.#renewedMs
    this.#log({ level: 'info', event: 'cluster-entered', server, former: former === 0 ? undefined : former })
    this.#hearing?.[Symbol.dispose]()
    this.#hearing = this.#steps.hear(server, (notice) => this.#heard(notice))
    // Tests whether notifications arrive.
    void this.tell(server, { kind: 'mail', users: [] })
  }

  /** Throws OspError `link-lost` if this server has given up a number. */
  #checkNumber(server: number | undefined): void {
    if (this.#isEntered && server === this.#server) return
    throw new OspError('link-lost', 'the server has lost its lease in the database of the cluster')
  }

  #heard(notice: Notice): void {
    if (notice.kind === 'unknown') {
      this.#isDoubtful = true
      this.#loops.track(this.#poll())
    } else this.#hasHeard = true
    for (const listener of this.#listeners) listener.heard?.(notice)
  }

  async #renew(): Promise<void> {
    const { clock } = this.platform
    if (this.#isEntered) {
      const isLiving = await this.#isLiving()
      const now = clock.now()
      if (now - this.#renewedMs > leaseMs / 2) this.#settlingMs = now
      this.#renewedMs = now
      if (isLiving && this.#isEntered) {
        if (now - this.#settlingMs >= settledMs) await this.#declareDead()
        return
      }
      if (this.#isEntered) {
        const text = 'the server ends its links'
        this.#log({ level: 'error', event: 'cluster-lease-lost', server: this.#server, text })
        this.#giveUp()
      }
    }
    await this.#enter()
  }

  /** Gives up the number of this server. It enters again at the next renewal. */
  #giveUp(): void {
    this.#isEntered = false
    for (const listener of this.#listeners) listener.declaredDead?.()
  }

  async #compared(): Promise<void> {
    this.#comparing ??= this.#compare().finally(() => {
      this.#comparing = undefined
    })
    await this.#comparing
  }

  /** If the store has gone back to an earlier state, ends all links: they may rely on missing changes. */
  async #compare(): Promise<void> {
    const server = this.#server
    this.#isDoubtful = false
    const { seq, token, linkBlock, stored, presenceVersion } = this.seen
    const seen = { seq, token, linkBlock, stored, presenceVersion }
    const found = await this.#steps.compare(server, this.#boot, seen)
    // Kept until the numbers are raised: after that, the store may look as if it had not gone back.
    const behind = this.#behind ? alsoBehind(found, this.#behind) : found
    if (behind.isBehind) this.#behind = behind
    const { isBehind, messages, isMember, timeline } = behind
    if (timeline === null || timeline !== this.#timeline) this.history++
    this.#timeline = timeline
    if (isBehind) await this.#steps.raise(server, seen)
    this.#behind = undefined
    if (!isBehind || this.#server !== server) return
    this.seen.begin(server)
    const text = 'the server ends its links'
    this.#log({ level: 'error', event: 'cluster-database-went-back', server, messages, text })
    this.#isNumberLost = !isMember
    if (this.#isEntered) this.#giveUp()
  }

  /** Renews the lease. Resolves with false if this server was declared dead or cannot reach the store. */
  async #isLiving(): Promise<boolean> {
    try {
      return await this.#extendLease()
    } catch (error) {
      if (error instanceof OspError && error.code === 'internal') return false
      throw error
    }
  }

  /** Resolves with false if this server was declared dead. */
  #extendLease(): Promise<boolean> {
    const age = this.#age + this.platform.clock.now() - this.#agedMs
    const { address } = this.#info
    return this.#leased((steps) => steps.renew(this.#server, leaseMs, this.#age, { age, address }))
  }

  /** Runs a step that makes or renews the lease, and records when it began. */
  async #leased<T>(step: (steps: Steps) => Promise<T>): Promise<T> {
    const { clock } = this.platform
    const sinceMs = clock.now()
    let beganMs = sinceMs
    using _silence = clock.alarm(sinceMs + silentMs, () => this.#silent(sinceMs))
    const result = await this.run((steps) => {
      beganMs = clock.now()
      return step(steps)
    })
    this.#answered()
    this.#leasedMs = Math.max(this.#leasedMs, beganMs)
    return result
  }

  /** Logs once for each outage that the store does not respond. */
  #silent(sinceMs: number): void {
    if (this.#silentSinceMs !== undefined) return
    this.#silentSinceMs = sinceMs
    const text = `the database of the cluster has not responded for ${silentMs / 1_000} s`
    this.#log({ level: 'error', event: 'cluster-database-lost', text })
  }

  #answered(): void {
    if (this.#silentSinceMs === undefined) return
    const ms = Math.round(this.platform.clock.now() - this.#silentSinceMs)
    this.#silentSinceMs = undefined
    this.#log({ level: 'info', event: 'cluster-database-back', ms })
  }

  /** Returns whether this server does the work that exactly one of the live servers of its version must do. */
  leads(servers: readonly ServerState[]): boolean {
    const live = servers.filter(
      ({ isDead, leaseMs, version }) => !isDead && leaseMs > 0 && version === this.#info.version,
    )
    return this.#isEntered && this.#server === Math.min(...live.map(({ server }) => server))
  }

  async #declareDead(): Promise<void> {
    const dead = await this.run((steps) => steps.declareDead(this.#server))
    for (const server of dead) this.#log({ level: 'warn', event: 'cluster-server-dead', server })
    // Not awaited: it never resolves while polls take longer than their interval, and the lease would not be renewed.
    if (dead.length > 0) this.#loops.track(this.#poll())
  }

  async #everyPoll(): Promise<void> {
    await this.#every(
      () => (this.#hasHeard || this.platform.clock.now() < this.#openedMs + firstNoticeMs ? pollMs : eagerPollMs),
      () => this.#poll(),
    )
  }

  /** Polls now, or again after the poll that is under way. */
  async #poll(): Promise<void> {
    this.#isPollDue = true
    if (this.#isPolling) return
    this.#isPolling = true
    try {
      while (this.#isPollDue && !this.closing.aborted) {
        this.#isPollDue = false
        await this.#pollOnce()
      }
    } catch (error) {
      ignoreFailedStep(error)
    } finally {
      this.#isPolling = false
    }
  }

  async #pollOnce(): Promise<void> {
    const poll = ++this.polls
    const found = await this.run((steps) => steps.mail.poll(this.#server, [...this.links]))
    for (const { lastSeq: seq } of found.listened) this.seen.add({ seq })
    const servers = await this.run((steps) => steps.servers())
    for (const listener of this.#listeners) await listener.polled?.({ ...found, poll, servers })
  }

  /** Repeats `work` until the server leaves. */
  async #every(ms: number | (() => number), work: () => Promise<void>): Promise<void> {
    while (!this.closing.aborted) {
      try {
        await this.wait(typeof ms === 'number' ? ms : ms())
        await work()
      } catch (error) {
        ignoreFailedStep(error)
      }
    }
  }
}

/** Adds the losses of an earlier comparison, after which the numbers may not have been raised. */
function alsoBehind(found: Comparison, { messages, isMember }: Comparison): Comparison {
  return {
    ...found,
    isBehind: true,
    messages: Math.max(found.messages, messages),
    isMember: found.isMember && isMember,
  }
}
