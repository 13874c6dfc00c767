import type { ClientGauges } from '../../lib/client/client.ts'
import type { RunningClient } from '../../lib/client/runningClient.ts'
import type { Limits } from '../../lib/limits.ts'
import type { ServerGauges, ServerStatus } from '../../lib/server/status.ts'
import type { SimulatedProcess } from './process.ts'
import { clientBounds, type SeenQueue, serverBounds } from './queueBounds.ts'
import type { VirtualTime } from './time.ts'
import type { Trace } from './trace.ts'

/** A client in its own process. */
export interface Running {
  readonly process: SimulatedProcess
  readonly client: Pick<RunningClient, 'gauges'>
}

/** The processes of a world whose queues are checked. */
interface QueueActors {
  readonly server: {
    readonly process: SimulatedProcess | undefined
    readonly isOpen: boolean
  }
  readonly clients: Iterable<{ readonly run: Running | undefined }>
  readonly mail: { readonly programs: Iterable<{ readonly run: Running | undefined }> }
  readonly visitors: Iterable<{ readonly running?: Running | undefined }>
}

/** One kind of data that grows. */
interface Row {
  readonly most: number
  highest: number
}

type Rows<Q extends string> = { readonly [K in Q]: Row }

/** Checks that no queue or memory grows beyond its bound, in a server or in a client. */
export class Queues {
  readonly #trace: Pick<Trace, 'fail'>
  readonly #time: Pick<VirtualTime, 'now'>
  readonly #server: Rows<keyof ReturnType<typeof serverBounds>>
  readonly #client: Rows<keyof ReturnType<typeof clientBounds>>
  /** The time since which changes of the presence list are pending, and the process. */
  #untold: { readonly process: SimulatedProcess; readonly sinceMs: number } | undefined

  constructor(trace: Pick<Trace, 'fail'>, time: Pick<VirtualTime, 'now'>, limits: Limits) {
    this.#trace = trace
    this.#time = time
    this.#server = rowsOf(serverBounds(limits))
    this.#client = rowsOf(clientBounds(limits))
  }

  /** Called after every step. */
  check({ server, clients, mail, visitors }: QueueActors, status: ServerStatus | undefined): void {
    const { process } = server
    if (status) this.#lookAll<keyof ServerGauges>(this.#server, status.gauges, 'the server')
    if (process) this.#told(process, server.isOpen ? (status?.gauges.pendingPresenceChanges ?? 0) : 0)
    for (const { run } of clients) if (run) this.#running(run)
    for (const { run } of mail.programs) if (run) this.#running(run)
    for (const { running } of visitors) if (running) this.#running(running)
  }

  /** Records an observed amount of data in the server. */
  saw(queue: SeenQueue, count: number): void {
    this.#look(this.#server[queue], queue, count, 'the server')
  }

  /** For each queue that can contain anything: the maximum part of its bound that was reached. */
  get reached(): ReadonlyMap<string, number> {
    const all = [...named('server', this.#server), ...named('client', this.#client)]
    return new Map(all.flatMap(([name, { highest, most }]) => (most > 0 ? [[name, highest / most] as const] : [])))
  }

  #running({ process, client }: Running): void {
    this.#lookAll<keyof ClientGauges>(this.#client, client.gauges, process.name)
  }

  #lookAll<Q extends string>(rows: Rows<Q>, gauges: { readonly [K in Q]: number }, who: string): void {
    for (const name of Object.keys(gauges) as Q[]) this.#look(rows[name], name, gauges[name], who)
  }

  #look(row: Row, queue: string, count: number, who: string): void {
    if (count <= row.highest) return
    row.highest = count
    if (count > row.most) this.#trace.fail(`${who} exceeds a bound: ${queue}: ${count}, over ${row.most}`)
  }

  /** Time in which the process is frozen does not count. */
  #told(process: SimulatedProcess, changes: number): void {
    if (changes === 0 || process.frozen) this.#untold = undefined
    else if (this.#untold?.process !== process) this.#untold = { process, sinceMs: this.#time.now() }
    else this.saw('ms for which changes of the presence list are pending', this.#time.now() - this.#untold.sinceMs)
  }
}

const rowsOf = <Q extends string>(bounds: { readonly [K in Q]: number }): Rows<Q> =>
  Object.fromEntries(Object.entries<number>(bounds).map(([name, most]) => [name, { most, highest: 0 }])) as Rows<Q>

const named = (of: string, rows: Readonly<Record<string, Row>>) =>
  Object.entries(rows).map(([name, row]) => [`${of}: ${name}`, row] as const)
