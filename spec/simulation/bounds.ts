import { fixed } from '../../lib/limits.ts'
import type { TransferRecord } from '../../lib/ports/storage.ts'
import type { ServerStatus } from '../../lib/server/status.ts'
import { events } from '../../lib/wire/protocol.ts'
import type { Link } from './network.ts'
import type { SimulatedProcess } from './process.ts'
import type { SimulatedSocket } from './socket.ts'
import type { World } from './world.ts'

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

/** That nothing grows without a bound, and that nothing is left of a process which has ended. */
export class Bounds {
  readonly #world: World
  /** Since when more files are open than uploads need. */
  #overSince: number | undefined

  constructor(world: World) {
    this.#world = world
  }

  /** After every step. */
  check(status: ServerStatus | undefined): void {
    const { server, limits } = this.#world
    if (server.process) this.#server(server.process, status?.uploads.length ?? limits.fileInstances)
    for (const { process, most } of this.#running()) {
      if (process.alarms > most) this.#world.fail(`${process.name} has set ${process.alarms} alarms`)
    }
    this.#records()
  }

  /** Of each end no more requests are unanswered than the other remembers replies; chunks are not counted. */
  watch({ client, server, clientProcess }: Link): void {
    const isUnruly = [...this.#world.visitors].some(({ process, unruly }) => unruly && process === clientProcess)
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
      if (unanswered.size > fixed.replies) this.#world.fail(`${who} ${unanswered.size} unanswered requests`)
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
  ended(process: SimulatedProcess): void {
    const { network } = this.#world
    const open = [...network.links].filter((link) => link.end(process)?.over === false).length
    const sockets = process === this.#world.server.process ? process.sockets : open
    const { name, alarms, handles } = process
    if (alarms + handles + sockets > 0)
      this.#world.fail(`${name} has ended and left ${alarms} alarms, ${handles} files and ${sockets} sockets`)
  }

  /** A record is kept. */
  kept({ user, name, checkpoints, superseded }: TransferRecord): void {
    if (checkpoints.length > this.#world.limits.checkpoints)
      this.#world.fail(`the record of ${user}/${name} has ${checkpoints.length} checkpoints`)
    if (superseded.length > fixed.supersededSessions)
      this.#world.fail(`the record of ${user}/${name} has ${superseded.length} superseded sessions`)
  }

  /** Files are open for those uploads only that an instance receives, that are parked, or that are just being closed. */
  #server({ handles, name, frozen }: SimulatedProcess, received: number): void {
    const { limits, machine } = this.#world
    const isOver = !frozen && handles > received + limits.parkedUploads
    const now = machine.time.now()
    this.#overSince = isOver ? (this.#overSince ?? now) : undefined
    if (isOver && now > (this.#overSince ?? now) + closingMs) this.#world.fail(`${name} has ${handles} files open`)
  }

  *#running(): Iterable<{ readonly process: SimulatedProcess; readonly most: number }> {
    const { server, clients, mail, files } = this.#world
    const { process } = server
    if (process) yield { process, most: alarmsEach * (4 + process.sockets + process.handles + mail.users.length) }
    for (const { process } of clients) if (process) yield { process, most: alarmsEach * (4 + 2 * files.length) }
    for (const { run } of mail.programs) if (run) yield { process: run.process, most: alarmsEach * 4 }
  }

  #records(): void {
    for (const record of this.#world.disk.recorded.splice(0)) this.kept(record)
  }
}
