import type { MailboxStore } from '../../lib/ports/mailboxes.ts'
import type { SeededRandom } from '../support/random.ts'
import type { ClientActor } from './clientActor.ts'
import type { SimulatedDisk } from './disk.ts'
import type { HandledUploads } from './handledUploads.ts'
import type { Invariants } from './invariants.ts'
import type { Mail } from './mail.ts'
import type { SimulatedNetwork } from './network.ts'
import type { PlaceWatch } from './placeWatch.ts'
import type { Machine } from './process.ts'
import type { Program, Visitor } from './program.ts'
import type { ServerActor } from './serverActor.ts'
import type { StoredFiles } from './storedFiles.ts'
import type { Tokens } from './tokens.ts'
import type { Trace } from './trace.ts'

/** Maximum time for all work to finish after the faults have stopped. */
const settlingMs = 1_800_000
const waningMs = 20_000

/** The parts of a world that its end uses. */
interface EndingParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly network: SimulatedNetwork
  readonly disk: SimulatedDisk
  readonly place: PlaceWatch | undefined
  readonly tokens: Tokens
  readonly invariants: Invariants
  readonly server: ServerActor
  readonly clients: readonly ClientActor[]
  readonly stored: StoredFiles
  readonly handled: HandledUploads
  readonly programs: readonly Program[]
  readonly mail: Mail
  readonly visitors: ReadonlySet<Visitor>
  readonly dice: SeededRandom
  healed: boolean
  until(endMs: number, done: () => boolean): Promise<void>
}

/**
 * The last part of a run: all faults stop, all work must finish, and everything closes without leaving anything behind.
 */
export class Ending {
  readonly #parts: EndingParts

  constructor(parts: EndingParts) {
    this.#parts = parts
  }

  async run(): Promise<void> {
    await this.#settle()
    if (!this.#parts.trace.failed) await this.#close()
  }

  async #settle(): Promise<void> {
    const { machine, network, disk, tokens, server, clients, visitors, mail, invariants, stored, handled } = this.#parts
    this.#parts.trace.tell('everything heals')
    this.#parts.healed = true
    network.heal()
    disk.faults.heal()
    tokens.settle()
    for (const { process } of visitors) process.thaw()
    server.heal(this.#parts.dice)
    for (const client of clients) client.heal()
    const hasMail = mail.users.length > 0
    if (hasMail) mail.heal()
    const { time } = machine
    const sent = () => clients.every(({ isSettled }) => isSettled) && stored.isSettled
    if (stored.notices.isOn) {
      await this.#parts.until(time.now() + settlingMs, () => sent() && handled.isSettled)
      handled.settled()
    }
    await this.#parts.until(time.now() + settlingMs, () => sent() && mail.isSettled)
    stored.describeAll()
    await this.#parts.until(time.now() + settlingMs, () => stored.isSettled)
    if (hasMail) await this.#wane()
    if (!this.#parts.trace.failed) invariants.settled()
    if (!this.#parts.trace.failed) stored.settled()
    if (!this.#parts.trace.failed) await this.#checkNotices()
    if (!this.#parts.trace.failed && hasMail) await mail.settled()
  }

  /** Checks the messages about files after those that have waited are stored. */
  async #checkNotices(): Promise<void> {
    const { server, stored, machine } = this.#parts
    if (!stored.notices.isOn) return
    await this.#parts.until(machine.time.now() + waningMs, () => false)
    await this.#parts.until(machine.time.now() + settlingMs, () => server.server !== undefined)
    if (!server.mailboxes) return
    let isOver = false
    const failed = (error: unknown) => this.#parts.trace.fail(`the messages about files cannot be read: ${error}`)
    void stored.notices
      .settled(server.mailboxes)
      .catch(failed)
      .finally(() => {
        isOver = true
      })
    await this.#parts.until(machine.time.now() + settlingMs, () => isOver)
  }

  /**
   * Checks that everything was answered, and that excess requests were answered later, if only after a restart of all
   * programs.
   */
  async #wane(): Promise<void> {
    const { mail } = this.#parts
    await this.#calm()
    if (this.#parts.trace.failed || !mail.isSettled) return
    mail.shake()
    await this.#calm()
  }

  /**
   * Lets time pass, and waits again until all work has finished: a side that had not noticed a broken link may have
   * looked settled.
   */
  async #calm(): Promise<void> {
    const { time } = this.#parts.machine
    await this.#parts.until(time.now() + waningMs, () => false)
    await this.#parts.until(time.now() + settlingMs, () => this.#parts.mail.isSettled)
  }

  /** Checks storage of a user's own: everything is still there when it is opened once more. */
  async #lookAtPlace(): Promise<void> {
    const { place, machine, mail } = this.#parts
    if (!place) return
    let isOver = false
    const over = () => {
      isOver = true
    }
    const readMailboxes = async (mailboxes: MailboxStore) => {
      if (mail.users.length > 0) await mail.readAnew(mailboxes)
    }
    place.atTheEnd(readMailboxes).then(over, (error: unknown) => {
      over()
      this.#parts.trace.fail(`the storage cannot be read any more: ${error}`)
    })
    await this.#parts.until(machine.time.now() + settlingMs, () => isOver)
    if (!isOver && !this.#parts.trace.failed) this.#parts.trace.fail('the storage cannot be opened any more')
  }

  /** Ends all processes, the server last, and checks that nothing is left of them. */
  async #close(): Promise<void> {
    const { machine, programs, server, mail, network, disk, visitors } = this.#parts
    const { time } = machine
    mail.leave()
    for (const program of programs) program.end()
    const ended = () => programs.every(({ running }) => !running) && [...visitors].every(({ gone }) => gone)
    await this.#parts.until(time.now() + settlingMs, ended)
    await this.#parts.until(time.now() + settlingMs, () => server.server !== undefined)
    server.stop()
    // A visitor may have connected in the meantime.
    await this.#parts.until(time.now() + settlingMs, () => !server.running && ended())
    if (this.#parts.trace.failed) return
    if (server.running || !ended()) this.#parts.trace.fail('not every process has ended')
    await this.#parts.until(time.now() + settlingMs, () => network.links.size === 0)
    if (network.links.size > 0) this.#parts.trace.fail(`${network.links.size} links are left`)
    await this.#lookAtPlace()
    for (const [key, { isOpen }] of disk.partial) if (isOpen) this.#parts.trace.fail(`${key} is still open`)
  }
}
