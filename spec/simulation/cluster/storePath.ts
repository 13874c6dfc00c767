import { type Notice, OutcomeUnknown, type Steps, type TransferSteps } from '../../../lib/adapters/cluster/steps.ts'
import type { SeededRandom } from '../../support/random.ts'
import type { Machine, SimulatedProcess } from '../process.ts'

/** Longest time until a server notices that a connection to the store has ended. */
const noticeMs = 2_000
/** Longest time of a step of a slow store. */
export const slowMs = 5_000
/** Longest time from the loss of a step until it is repeated: a server notices the loss, and then waits for up to a second. */
export const reconnectMs = noticeMs + 1_000
/** The time after which the store ends a claim whose server does not decide. */
const decisionMs = 5_000

/** The faults of the paths between the servers of a world and their shared store. */
export class StorePaths {
  /** Longest time of each direction of a step. */
  readonly delayMs: number
  /** Probability that the connection ends after a step was sent: it may have taken effect. */
  unknown: number
  /** Until this time the store drops all connections. */
  downUntilMs = 0
  /** Until this time a step takes up to `slowMs`. */
  slowUntilMs = 0
  /** Until this time no notification arrives. */
  silentUntilMs = 0
  /** The number of the present connections: it rises when all of them end. */
  connections = 0
  /** Rises when another store takes the place of the present one. */
  timeline = 0
  /** How far the clock of the store is ahead of the time of the world; negative if it is behind. */
  clockAheadMs = 0
  /** The time at which each server has last lost a step. */
  readonly lostMs = new Map<SimulatedProcess, number>()
  /** The name of the next step of a server that reaches the store late. Steps on other connections are not delayed. */
  readonly late = new Map<
    SimulatedProcess,
    { readonly step: string; readonly ms: number; readonly begun: () => void }
  >()
  /** Until this time a server cannot reach the store. */
  readonly splitUntilMs = new Map<SimulatedProcess, number>()

  readonly #machine: Machine

  constructor(machine: Machine, delayMs: number, unknown: number) {
    this.#machine = machine
    this.delayMs = delayMs
    this.unknown = unknown
  }

  heal(): void {
    this.unknown = 0
    this.downUntilMs = 0
    this.slowUntilMs = 0
    this.silentUntilMs = 0
    this.late.clear()
    this.splitUntilMs.clear()
  }

  /** Ends all connections to the store, which is down for this time. */
  disconnect(ms: number): void {
    const { time } = this.#machine
    this.connections++
    this.downUntilMs = Math.max(this.downUntilMs, time.now() + ms)
  }

  /** Another store takes the place of the present one after this time. */
  failOver(ms: number): void {
    this.timeline++
    this.disconnect(ms)
  }

  /** Longest time of one direction of a step now. */
  stepMs(now: number): number {
    return now < this.slowUntilMs ? slowMs / 2 : this.delayMs
  }

  isBroken(process: SimulatedProcess): boolean {
    const now = process.machine.time.now()
    return now < this.downUntilMs || now < (this.splitUntilMs.get(process) ?? 0)
  }
}

/** The steps that take note of another store. Until then it rejects all other steps. */
const anew: readonly string[] = ['compare', 'raise', 'enter', 'lastTime'] satisfies (keyof Steps)[]

type Method = (...given: never[]) => Promise<unknown>

/** The path from a server to the shared store: each step takes time, and its answer can be lost. */
class StorePath {
  readonly #process: SimulatedProcess
  readonly #paths: StorePaths
  readonly #random: SeededRandom
  /** The number of its connection to the store, and the store that it knows. */
  #connection: number
  #timeline: number

  constructor(process: SimulatedProcess, paths: StorePaths) {
    this.#process = process
    this.#paths = paths
    this.#random = process.machine.random.fork(`the store of ${process.name}`)
    this.#connection = paths.connections
    this.#timeline = paths.timeline
  }

  /** Returns the methods of a part of the store as the server calls them. */
  methods<T extends object>(part: T): T {
    const entries = Object.entries(part) as [string, Method][]
    return Object.fromEntries(entries.map(([name, method]) => [name, this.#stepOf(name, method)])) as T
  }

  /** Returns these steps. A claim of a server that was killed or frozen while it decides ends, as a transaction in a database does. */
  deciding(transfers: TransferSteps): TransferSteps {
    const claim: TransferSteps['claim'] = (by, upload, decide, isRecovery) =>
      transfers.claim(by, upload, (found) => this.#inTime(decide(found)), isRecovery)
    return { ...transfers, claim }
  }

  #inTime<T>(decision: Promise<T>): Promise<T> {
    const { time } = this.#process.machine
    return new Promise((resolve, reject) => {
      const late = () => reject(new OutcomeUnknown('the server has not decided in time'))
      const alarm = time.alarm(time.now() + decisionMs, late)
      decision.then(resolve, reject).finally(() => alarm[Symbol.dispose]())
    })
  }

  tell(steps: Steps, to: number | 'all', notice: Notice): Promise<void> {
    const { time } = this.#process.machine
    const isLost = this.#paths.isBroken(this.#process) || time.now() < this.#paths.silentUntilMs
    return this.#process.effect(this.#paths.delayMs, 'time of a notification', () => {
      if (!isLost) void steps.tell(to, notice)
    })
  }

  /** Passes a notification on after a while, unless it is lost. */
  heard(notice: Notice, heard: (notice: Notice) => void): void {
    const { time } = this.#process.machine
    if (this.#paths.isBroken(this.#process) || time.now() < this.#paths.silentUntilMs) return
    const delayMs = this.#random.fraction('time until a notification arrives') * this.#paths.delayMs
    time.alarm(time.now() + delayMs, () => this.#process.awake(() => heard(notice)))
  }

  #stepOf(name: string, method: Method): Method {
    return async (...given) => {
      const { connections, timeline } = this.#paths
      const hasEnded = this.#connection !== connections
      this.#connection = connections
      if (hasEnded || (this.#timeline !== timeline && !anew.includes(name))) return this.#lose()
      const isBroken = this.#paths.isBroken(this.#process)
      const isLost = isBroken || this.#random.chance(this.#paths.unknown, 'the answer of a step is lost')
      if (isLost && this.#random.chance(0.5, 'the step is lost as well')) return this.#lose()
      const step = () => (this.#paths.connections === connections ? settled(method(...given)) : undefined)
      const lateMs = this.#lateMs(name)
      const outcome = await this.#process.effect(this.#stepMs, 'time of a step', step, step, lateMs)
      if (!outcome || isLost || this.#paths.isBroken(this.#process)) return this.#lose()
      await this.#process.effect(this.#stepMs, `answer to ${name}`, () => {})
      if (anew.includes(name)) this.#timeline = timeline
      if ('error' in outcome) throw outcome.error
      return outcome.value
    }
  }

  /** Returns the delay of a step. */
  #lateMs(name: string): number {
    const late = this.#paths.late.get(this.#process)
    if (late?.step !== name) return 0
    this.#paths.late.delete(this.#process)
    late.begun()
    return late.ms
  }

  get #stepMs(): number {
    return this.#paths.stepMs(this.#process.machine.time.now())
  }

  async #lose(): Promise<never> {
    this.#paths.lostMs.set(this.#process, this.#process.machine.time.now())
    await this.#process.effect(noticeMs, 'time until a lost connection is noticed', () => {})
    throw new OutcomeUnknown('the connection to the simulated store has ended')
  }
}

/** Returns the steps of a shared store as a server reaches them. */
export function stepsFrom(process: SimulatedProcess, steps: Steps, paths: StorePaths): Steps {
  const path = new StorePath(process, paths)
  const { mail, transfers, files, imports, tell: _, hear: __, open, [Symbol.asyncDispose]: dispose, ...others } = steps
  return {
    ...path.methods(others),
    mail: path.methods(mail),
    transfers: path.methods(path.deciding(transfers)),
    files: path.methods(files),
    imports: path.methods(imports),
    open,
    tell: (to, notice) => path.tell(steps, to, notice),
    hear: (server, heard) => steps.hear(server, (notice) => path.heard(notice, heard)),
    [Symbol.asyncDispose]: dispose,
  }
}

async function settled<T>(work: Promise<T>): Promise<{ readonly value: T } | { readonly error: unknown }> {
  try {
    return { value: await work }
  } catch (error) {
    return { error }
  }
}
