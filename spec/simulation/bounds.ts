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

/** The numbers of the counted requests. */
const requests: ReadonlySet<number> = new Set(
  Object.values(events).flatMap(({ kind, number }) =>
    kind === 'request' && number !== events.PostFileReq.number ? [number] : [],
  ),
)

/** Maximum time for closing a file. */
const closingMs = 2_000

/** Alarms that a process may have for each of its activities, and for itself. */
const alarmsEach = 4

/** Returns a process if it runs. */
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

/** Checks that nothing grows without bound, and that an ended process leaves nothing behind. */
export class Bounds {
  readonly #parts: BoundedParts
  /** The time since which more files are open than the uploads need. */
  #overSince: number | undefined

  constructor(parts: BoundedParts) {
    this.#parts = parts
  }

  /** Called after every step. */
  check(actors: BoundedActors, status: ServerStatus | undefined): void {
    const { server } = actors
    const { limits } = this.#parts
    if (server.process)
      this.#server(server.process, status ? status.uploads.length + status.gauges.openFiles : limits.fileInstances)
    for (const { process, most } of running(actors)) {
      if (process.alarms > most) this.#parts.trace.fail(`${process.name} has set ${process.alarms} alarms`)
    }
    this.#records()
  }

  /**
   * Checks that each side has at most as many unanswered requests as the other remembers replies; chunks do not count.
   */
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
   * Checks that an ended process has closed everything. A server leaves nothing behind; a client does not wait for the
   * last bytes of a link that ended earlier.
   */
  ended(process: SimulatedProcess, isServer = false): void {
    const { network } = this.#parts
    const open = [...network.links].filter((link) => link.end(process)?.over === false).length
    const sockets = isServer ? process.sockets : open
    const { name, alarms, handles } = process
    if (alarms + handles + sockets > 0)
      this.#parts.trace.fail(`${name} has ended and left ${alarms} alarms, ${handles} files and ${sockets} sockets`)
  }

  /** A record was stored. */
  kept({ user, name, checkpoints, superseded }: TransferRecord): void {
    if (checkpoints.length > this.#parts.limits.checkpoints)
      this.#parts.trace.fail(`the record of ${user}/${name} has ${checkpoints.length} checkpoints`)
    if (superseded.length > fixed.supersededSessions)
      this.#parts.trace.fail(`the record of ${user}/${name} has ${superseded.length} superseded sessions`)
  }

  /**
   * Checks that files are open only for uploads that an instance receives, that are parked, or that are being closed.
   */
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

/** The processes of a world except visitors, each with its maximum number of alarms. */
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
