import { fixed, type Limits } from '../../lib/limits.ts'
import type { TransferRecord } from '../../lib/ports/storage.ts'
import type { ServerStatus } from '../../lib/server/status.ts'
import { events } from '../../lib/wire/protocol.ts'
import type { SimulatedDisk } from './disk.ts'
import type { Link, SimulatedNetwork } from './network.ts'
import type { SimulatedProcess } from './process.ts'
import type { SimulatedSocket } from './socket.ts'
import type { VirtualTime } from './time.ts'
import type { Trace } from './trace.ts'

/** Requests that are counted, by their number. */
const requests: ReadonlySet<number> = new Set(
  Object.values(events).flatMap(({ kind, number }) =>
    kind === 'request' && number !== events.PostFileReq.number ? [number] : [],
  ),
)

/** The longest that it takes to close a file. */
const closingMs = 2_000

/** Alarms that a process may have for each thing that it does, and for itself. */
const alarmsEach = 4

/** A process, if it runs. */
interface Runner {
  readonly process: SimulatedProcess | undefined
}

/** The parts of a world whose bounds are checked. */
interface BoundedParts {
  readonly trace: Trace
  readonly time: VirtualTime
  readonly limits: Limits
  readonly network: Pick<SimulatedNetwork, 'links'>
  readonly disk: Pick<SimulatedDisk, 'recorded'>
}

/** The processes of a world. */
interface BoundedActors {
  readonly server: Runner
  readonly clients: Iterable<Runner>
  readonly files: { readonly length: number }
  readonly mail: {
    readonly users: { readonly length: number }
    readonly programs: Iterable<{ readonly run: Runner | undefined }>
  }
}

/** That nothing grows without a bound, and that nothing is left of a process which has ended. */
export class Bounds {
  readonly #parts: BoundedParts
  /** Since when more files are open than uploads need. */
  #overSince: number | undefined

  constructor(parts: BoundedParts) {
    this.#parts = parts
  }

  /** After every step. */
  check(actors: BoundedActors, status: ServerStatus | undefined): void {
    const { server } = actors
    const { limits } = this.#parts
    if (server.process) this.#server(server.process, status?.uploads.length ?? limits.fileInstances)
    for (const { process, most } of running(actors)) {
      if (process.alarms > most) this.#parts.trace.fail(`${process.name} has set ${process.alarms} alarms`)
    }
    this.#records()
  }

  /** Of each end no more requests are unanswered than the other remembers replies; chunks are not counted. */
  watch({ client, server, clientProcess }: Link, isUnruly: boolean): void {
    if (!isUnruly) this.#requests(client, server, `${clientProcess.name} has`)
    this.#requests(server, client, `the server has, at ${clientProcess.name},`)
  }

  #requests(from: SimulatedSocket, to: SimulatedSocket, who: string): void {
    const unanswered = new Set<number>()
    const { sent } = from
    const { sent: replied } = to
    from.sent = (frame) => {
      sent(frame)
      if (requests.has(frame.event)) unanswered.add(frame.seq)
      if (unanswered.size > fixed.replies) this.#parts.trace.fail(`${who} ${unanswered.size} unanswered requests`)
    }
    to.sent = (frame) => {
      replied(frame)
      if (!requests.has(frame.event)) unanswered.delete(frame.seq)
    }
  }

  /**
   * A process has closed all that it had. Of a server nothing is left then; a client does not wait for the last bytes of
   * a link that had ended before.
   */
  ended(process: SimulatedProcess, isServer = false): void {
    const { network } = this.#parts
    const open = [...network.links].filter((link) => link.end(process)?.over === false).length
    const sockets = isServer ? process.sockets : open
    const { name, alarms, handles } = process
    if (alarms + handles + sockets > 0)
      this.#parts.trace.fail(`${name} has ended and left ${alarms} alarms, ${handles} files and ${sockets} sockets`)
  }

  /** A record is kept. */
  kept({ user, name, checkpoints, superseded }: TransferRecord): void {
    if (checkpoints.length > this.#parts.limits.checkpoints)
      this.#parts.trace.fail(`the record of ${user}/${name} has ${checkpoints.length} checkpoints`)
    if (superseded.length > fixed.supersededSessions)
      this.#parts.trace.fail(`the record of ${user}/${name} has ${superseded.length} superseded sessions`)
  }

  /** Files are open for those uploads only that an instance receives, that are parked, or that are just being closed. */
  #server({ handles, name, frozen }: SimulatedProcess, received: number): void {
    const { limits, time } = this.#parts
    const isOver = !frozen && handles > received + limits.parkedUploads
    const now = time.now()
    this.#overSince = isOver ? (this.#overSince ?? now) : undefined
    if (isOver && now > (this.#overSince ?? now) + closingMs)
      this.#parts.trace.fail(`${name} has ${handles} files open`)
  }

  #records(): void {
    for (const record of this.#parts.disk.recorded.splice(0)) this.kept(record)
  }
}

/** The processes of a world other than visitors, each with the alarms that it may have set. */
function* running({
  server,
  clients,
  files,
  mail,
}: BoundedActors): Iterable<{ process: SimulatedProcess; most: number }> {
  const { process } = server
  if (process) yield { process, most: alarmsEach * (4 + process.sockets + process.handles + mail.users.length) }
  for (const { process } of clients) if (process) yield { process, most: alarmsEach * (4 + 2 * files.length) }
  for (const { run } of mail.programs) if (run?.process) yield { process: run.process, most: alarmsEach * 4 }
}
