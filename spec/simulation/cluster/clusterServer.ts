import { ClusterClaims } from '../../../lib/adapters/cluster/clusterClaims.ts'
import { ClusterLinks } from '../../../lib/adapters/cluster/clusterLinks.ts'
import { ClusterMailboxes } from '../../../lib/adapters/cluster/clusterMailboxes.ts'
import { ClusterMember } from '../../../lib/adapters/cluster/clusterMember.ts'
import { type ClusterFiles, filesOfCluster } from '../../../lib/adapters/cluster/clusterStorage.ts'
import type { Steps } from '../../../lib/adapters/cluster/steps.ts'
import { memory } from '../../../lib/adapters/memory/memoryStorage.ts'
import { olderVersion } from '../../../lib/adapters/memory/olderSteps.ts'
import type { Limits } from '../../../lib/limits.ts'
import type { LogEntry } from '../../../lib/ports/log.ts'
import type { Platform } from '../../../lib/ports/platform.ts'
import type { Storage } from '../../../lib/ports/storage.ts'
import type { NotifyRule } from '../../../lib/server/files/fileNotices.ts'
import { type RunningServer, startServer } from '../../../lib/server/server.ts'
import type { Bounds } from '../bounds.ts'
import type { SimulatedNetwork } from '../network.ts'
import { type Breakpoint, type Machine, SimulatedProcess } from '../process.ts'
import type { Tokens } from '../tokens.ts'
import type { Trace } from '../trace.ts'
import type { SimulatedHook } from '../uploadHook.ts'
import { type StorePaths, stepsFrom } from './storePath.ts'

/** The errors of steps after a server could not reach the store for a long time, or was declared dead. */
const unreachable = /the shared store of the cluster does not answer|declared dead/u

/** Time for which a server that was frozen when the limits changed keeps the earlier ones. */
const earlierLimitsMs = 20_000

/** Maximum time for stopping a server. */
const stoppingMs = 180_000

/** The parts of a world that one of its servers uses. */
export interface ClusterServerParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly network: SimulatedNetwork
  readonly tokens: Tokens
  readonly paths: StorePaths
  readonly bounds: Pick<Bounds, 'ended'>
  /** Returns the steps of the shared store for a new run of a server, which may use an older version of the schema. */
  readonly steps: (process: SimulatedProcess, isOlder: boolean) => Steps
  /** Called with each number that a server gives to a link. */
  readonly numbered: (node: number) => void
  /** The rules of messages about stored files. */
  readonly notify: () => readonly NotifyRule[]
  readonly hook: SimulatedHook
  /** Returns the shared files as a run of a server uses them. Without it, each server has files of its own. */
  readonly openFiles: ((process: SimulatedProcess, claims: ClusterClaims) => ClusterFiles) | undefined
  /** The moments at which the server that comes first to them freezes. */
  readonly breakpoints: Breakpoint[]
  /** Called with each entry of the log of a server. */
  readonly logged: (entry: LogEntry) => void
  /** Called when a server reports that the store has gone back to an earlier state. */
  readonly wentBack: (process: SimulatedProcess) => void
}

/** One of the servers of a cluster: it is started, killed, stopped and frozen. */
export class ClusterServer {
  readonly name: string
  /** Whether it was frozen, or could not reach the store. */
  hasBeenAway = false
  readonly #parts: ClusterServerParts
  readonly #limits: () => Partial<Limits>
  /** How far the wall clock of its machine is ahead, in ms. */
  readonly #aheadMs: number
  /** Whether it runs the previous release, which uses an older version of the schema. */
  #isOlder: boolean
  #runs = 0
  #process: SimulatedProcess | undefined
  #server: RunningServer | undefined
  #isStopping = false
  #startedWith: { readonly limits: Partial<Limits>; readonly isOlder: boolean } | undefined
  /** Whether all faults have stopped. */
  #isHealed = false

  constructor(
    parts: ClusterServerParts,
    name: string,
    limits: () => Partial<Limits>,
    own: { readonly aheadMs: number; readonly isOlder: boolean },
  ) {
    const { aheadMs, isOlder } = own
    this.#isOlder = isOlder
    this.#parts = parts
    this.name = name
    this.#limits = limits
    this.#aheadMs = aheadMs
  }

  /** The running server, once it listens. */
  get server(): RunningServer | undefined {
    return this.#server
  }

  get process(): SimulatedProcess | undefined {
    return this.#process
  }

  start(): boolean {
    if (this.#process) return false
    const { machine, network, tokens, trace, hook } = this.#parts
    const process = new SimulatedProcess(`${this.name} ${++this.#runs}`, machine)
    process.breakpoints = this.#parts.breakpoints
    this.#process = process
    trace.tell(`${process.name} starts`)
    const [limits, isOlder] = [this.#limits(), this.#isOlder]
    this.#startedWith = { limits, isOlder }
    const platform = this.#platformOf(process)
    const steps = stepsFrom(process, this.#parts.steps(process, isOlder), this.#parts.paths)
    const info = { name: this.name, version: isOlder ? olderVersion : 'simulated', address: process.name }
    const member = new ClusterMember(steps, info, ({ event }) => {
      if (event === 'cluster-database-went-back') this.#parts.wentBack(process)
    })
    const links = new NumberedLinks(member, this.#parts.numbered)
    const mailboxes = new ClusterMailboxes(member, links)
    startServer({
      platform,
      listen: network.transportOf(process),
      storage: storageOf(member, mailboxes, (claims) => this.#parts.openFiles?.(process, claims)),
      links,
      authenticator: tokens.authenticatorOf(process),
      limits,
      notify: this.#parts.notify(),
      ...(hook.isOn && { onUpload: hook.of(process) }),
      log: (entry) => process.alive && this.#logged(entry),
    }).then(
      (server) => {
        if (this.#process !== process) return
        this.#server = server
      },
      (error: unknown) => this.#notStarted(process, error),
    )
    return true
  }

  /** Makes the server run the present release from its next start. */
  upgrade(): void {
    this.#isOlder = false
  }

  kill(): boolean {
    const process = this.#process
    if (!process) return false
    this.#parts.trace.tell(`${process.name} is killed`)
    process.kill()
    this.#parts.network.cut((link) => link.of(process))
    this.#gone()
    return true
  }

  stop(): boolean {
    const process = this.#process
    if (!process || !this.#server || this.#isStopping || process.frozen) return false
    const { trace, bounds } = this.#parts
    trace.tell(`${process.name} is stopped`)
    this.#isStopping = true
    process.within(stoppingMs, () => trace.fail(`${process.name} does not stop`))
    this.#server.close().then(
      () => {
        if (!process.alive) return
        trace.tell(`${process.name} has stopped`)
        bounds.ended(process, true)
        process.kill()
        this.#gone()
      },
      (error: unknown) => trace.fail(`${process.name} could not stop: ${error}`),
    )
    return true
  }

  freeze(ms: number): boolean {
    const process = this.#process
    if (!process || process.frozen) return false
    this.#parts.trace.tell(`${process.name} freezes: ${ms} ms`)
    this.hasBeenAway = true
    process.freezeFor(ms)
    return true
  }

  /** Disconnects it from the store for this time. */
  split(ms: number): boolean {
    const process = this.#process
    if (!process) return false
    this.#parts.trace.tell(`${process.name} is split from the store: ${ms} ms`)
    this.hasBeenAway = true
    this.#parts.paths.splitUntilMs.set(process, this.#parts.machine.time.now() + ms)
    return true
  }

  /**
   * Restarts it if needed, so that it runs without faults, under the present limits. A frozen server stays frozen until its time is
   * over, and keeps earlier limits for a while.
   */
  heal(): void {
    this.#isHealed = true
    this.upgrade()
    const { limits, isOlder } = this.#startedWith ?? {}
    const process = this.#process
    if (process?.frozen) {
      if (limits !== this.#limits()) process.awake(() => process.within(earlierLimitsMs, () => this.heal()))
      return
    }
    if (this.#isStopping || isOlder || limits !== this.#limits()) this.kill()
    this.start()
  }

  #platformOf({ platform }: SimulatedProcess): Platform {
    const { clock } = platform
    const ahead = { ...clock, wallTime: () => clock.wallTime() + this.#aheadMs }
    return { ...platform, clock: ahead }
  }

  /** It cannot start while it cannot reach the store. */
  #notStarted(process: SimulatedProcess, error: unknown): void {
    if (this.#process !== process) return
    if (!unreachable.test(String(error))) this.#parts.trace.fail(`${process.name} did not start: ${error}`)
    this.#parts.trace.tell(`${process.name} does not start: ${error}`)
    process.kill()
    this.#gone()
    // It may have tried in vain before the faults stopped.
    if (this.#isHealed) this.start()
  }

  #logged(entry: LogEntry): void {
    this.#parts.logged(entry)
    if (entry.level !== 'error' || unreachable.test(String(entry.text))) return
    this.#parts.trace.fail(`${this.name} logged ${JSON.stringify(entry)}`)
  }

  #gone(): void {
    this.#process = undefined
    this.#server = undefined
    this.#isStopping = false
  }
}

/** A directory of links that shows its numbers. */
class NumberedLinks extends ClusterLinks {
  readonly #numbered: (node: number) => void

  constructor(member: ClusterMember, numbered: (node: number) => void) {
    super(member)
    this.#numbered = numbered
  }

  override nextNode(): number {
    const node = super.nextNode()
    this.#numbered(node)
    return node
  }
}

/** Returns a storage with shared mailboxes. Its files are shared, or belong to the server alone. */
function storageOf(
  member: ClusterMember,
  mailboxes: ClusterMailboxes,
  openFiles: (claims: ClusterClaims) => ClusterFiles | undefined,
): Storage {
  const claims = new ClusterClaims(member)
  const shared = openFiles(claims)
  if (shared) {
    const { transfers, catalogue } = filesOfCluster(member, claims, shared)
    return {
      transfers,
      catalogue,
      files: shared,
      mailboxes,
      async open(platform) {
        await member.open(platform)
        await shared.prepare()
      },
      async [Symbol.asyncDispose]() {
        await shared.close()
        await mailboxes.close()
        await member[Symbol.asyncDispose]()
      },
    }
  }
  const files = memory()
  return {
    transfers: files.transfers,
    files: files.files,
    mailboxes,
    async open(platform) {
      await files.open(platform)
      await member.open(platform)
    },
    async [Symbol.asyncDispose]() {
      await member[Symbol.asyncDispose]()
      await files[Symbol.asyncDispose]()
    },
  }
}
