import { readRecord } from '../adapters/records/rows.ts'
import { fixed } from '../limits.ts'
import type { SimulatedProcess } from './process.ts'
import type { World } from './world.ts'

/** Alarms and links that a process may have for each thing that it does, and for itself. */
const alarmsEach = 4

/** That nothing grows without a bound, and that nothing is left of a process which has ended. */
export class Bounds {
  readonly #world: World

  constructor(world: World) {
    this.#world = world
  }

  /** After every step. */
  check(): void {
    const { server } = this.#world
    if (server.process) this.#server(server.process)
    for (const { process, most } of this.#running()) {
      if (process.alarms > most) this.#world.fail(`${process.name} has set ${process.alarms} alarms`)
    }
    this.#records()
  }

  /** A process has closed all that it had. */
  ended(process: SimulatedProcess): void {
    const { network } = this.#world
    const links = [...network.links].filter((link) => link.end(process)?.over === false).length
    const { name, alarms, handles } = process
    if (alarms + handles + links > 0)
      this.#world.fail(`${name} has ended and left ${alarms} alarms, ${handles} files and ${links} links`)
  }

  /** Files are open for those uploads only that an instance receives, that are parked, or that change between these. */
  #server({ handles, name }: SimulatedProcess): void {
    const { fileInstances, parkedUploads } = this.#world.limits
    if (handles > 2 * fileInstances + parkedUploads + 2) this.#world.fail(`${name} has ${handles} files open`)
  }

  *#running(): Iterable<{ readonly process: SimulatedProcess; readonly most: number }> {
    const { server, network, clients, mail, files } = this.#world
    const { process } = server
    if (process) yield { process, most: alarmsEach * (4 + network.links.size + process.handles + mail.users.length) }
    for (const { process } of clients) if (process) yield { process, most: alarmsEach * (4 + 2 * files.length) }
    for (const { run } of mail.programs) if (run) yield { process: run.process, most: alarmsEach * 4 }
  }

  #records(): void {
    const { disk, limits } = this.#world
    for (const text of disk.records.splice(0)) {
      const record = readRecord(text)
      if (!record) continue
      const { user, name, checkpoints, superseded } = record
      if (checkpoints.length > limits.checkpoints)
        this.#world.fail(`the record of ${user}/${name} has ${checkpoints.length} checkpoints`)
      if (superseded.length > fixed.supersededSessions)
        this.#world.fail(`the record of ${user}/${name} has ${superseded.length} superseded sessions`)
    }
  }
}
