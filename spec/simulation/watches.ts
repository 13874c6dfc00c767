import type { ServerStatus } from '../../lib/server/status.ts'
import { AnswerWatch } from './answerWatch.ts'
import { HelloWatch } from './helloWatch.ts'
import type { Link } from './network.ts'
import { QueueWatch } from './queueWatch.ts'
import { RightsWatch } from './rightsWatch.ts'
import type { World } from './world.ts'

/** All that looks at a world: at each link from before anything passes, and at everything after every step. */
export class Watches {
  readonly #world: World
  readonly #ofLinks: readonly { watch(link: Link): void }[]
  /** Each is given what the running server says of itself. */
  readonly #ofSteps: readonly { check(status: ServerStatus | undefined): void }[]

  constructor(world: World) {
    this.#world = world
    const { mail, uploads, bounds, invariants, queues } = world
    const answers = new AnswerWatch(world)
    const rights = new RightsWatch(world)
    this.#ofLinks = [mail.watch, uploads, bounds, new QueueWatch(world), answers, rights, new HelloWatch(world)]
    this.#ofSteps = [invariants, bounds, queues, answers, rights, mail.invariants, mail.watch]
  }

  watch(link: Link): void {
    for (const each of this.#ofLinks) each.watch(link)
  }

  check(): void {
    const status = this.#world.server.server?.status()
    for (const each of this.#ofSteps) each.check(status)
  }
}
