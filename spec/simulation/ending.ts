import type { World } from './world.ts'

/** How long all may take to come to its end once everything is mended. */
const settlingMs = 1_800_000
const waningMs = 20_000

/** The last part of a run: everything is mended and must come to its end, and then be closed without leaving anything. */
export class Ending {
  readonly #world: World

  constructor(world: World) {
    this.#world = world
  }

  async run(): Promise<void> {
    await this.#settle()
    if (!this.#world.failed) await this.#close()
  }

  async #settle(): Promise<void> {
    const { machine, network, disk, tokens, server, clients, visitors, mail, invariants } = this.#world
    this.#world.tell('everything heals')
    this.#world.healed = true
    network.heal()
    disk.troubles.heal()
    tokens.settle()
    for (const { process } of visitors) process.thaw()
    server.heal()
    for (const client of clients) client.heal()
    const hasMail = mail.users.length > 0
    if (hasMail) mail.heal()
    const { time } = machine
    const sent = () => clients.every(({ isSettled }) => isSettled)
    await this.#world.until(time.now() + settlingMs, () => sent() && mail.isSettled)
    if (hasMail) await this.#wane()
    if (!this.#world.failed) invariants.settled()
    if (!this.#world.failed && hasMail) await mail.settled()
  }

  /** What is answered is not all done yet, and what comes too much comes late, if only when all begin anew. */
  async #wane(): Promise<void> {
    const { mail } = this.#world
    await this.#calm()
    if (this.#world.failed || !mail.isSettled) return
    mail.shake()
    await this.#calm()
  }

  /** A while passes, and all has come to its end again: an end that did not know of a broken link may have looked settled. */
  async #calm(): Promise<void> {
    const { time } = this.#world.machine
    await this.#world.until(time.now() + waningMs, () => false)
    await this.#world.until(time.now() + settlingMs, () => this.#world.mail.isSettled)
  }

  /** Where things have a place of their own: they are there also when it is opened once more. */
  async #lookAtPlace(): Promise<void> {
    const { place, machine } = this.#world
    if (!place) return
    let isOver = false
    const over = () => {
      isOver = true
    }
    place.atTheEnd().then(over, (error: unknown) => {
      over()
      this.#world.fail(`what was kept can't be looked at any more: ${error}`)
    })
    await this.#world.until(machine.time.now() + settlingMs, () => isOver)
    if (!isOver && !this.#world.failed) this.#world.fail('what was kept does not open any more')
  }

  /** Everybody ends, the server last: nothing is left of them. */
  async #close(): Promise<void> {
    const { machine, programs, server, mail, network, disk, visitors } = this.#world
    const { time } = machine
    mail.leave()
    for (const program of programs) program.end()
    const ended = () => programs.every(({ running }) => !running) && [...visitors].every(({ gone }) => gone)
    await this.#world.until(time.now() + settlingMs, ended)
    await this.#world.until(time.now() + settlingMs, () => server.server !== undefined)
    server.stop()
    // Somebody may have come meanwhile.
    await this.#world.until(time.now() + settlingMs, () => !server.running && ended())
    if (this.#world.failed) return
    if (server.running || !ended()) this.#world.fail('not everybody has ended')
    await this.#world.until(time.now() + settlingMs, () => network.links.size === 0)
    if (network.links.size > 0) this.#world.fail(`${network.links.size} links are left`)
    await this.#lookAtPlace()
    for (const [key, { isOpen }] of disk.partial) if (isOpen) this.#world.fail(`${key} is still open`)
  }
}
