import { decode } from '../wire/message.ts'
import { events } from '../wire/protocol.ts'
import type { Link } from './network.ts'
import type { World } from './world.ts'

/** The longest that a link is left to whoever's right has changed. */
const endingMs = 1_000

/** A link that was let in. */
interface LetIn {
  readonly link: Link
  readonly user: string
  /** How often the user's right had changed. */
  readonly changes: number
  /** Since when the server runs and should have ended it. */
  overdueSince: number | undefined
}

/** That a token which holds no more lets nobody in, and that the links which it had let in end. */
export class RightsWatch {
  readonly #world: World
  readonly #letIn = new Set<LetIn>()

  constructor(world: World) {
    this.#world = world
  }

  watch(link: Link): void {
    const { server, clientProcess } = link
    const { heard, sent } = server
    let said = { user: '', token: '' }
    server.heard = (frame) => {
      if (frame.event === events.HelloReq.number) {
        const message = decode(frame)
        if (message.event === 'HelloReq') said = { user: message.userName, token: message.token }
      }
      return heard(frame)
    }
    server.sent = (frame) => {
      sent(frame)
      if (frame.event !== events.HelloAck.number || server.over) return
      const { user, token } = said
      const { tokens } = this.#world
      if (token !== tokens.now(user))
        this.#world.fail(`${clientProcess.name} is let in as ${user} by a token of before`)
      this.#letIn.add({ link, user, changes: tokens.changes(user), overdueSince: undefined })
    }
  }

  /** After every step. */
  check(): void {
    for (const letIn of this.#letIn) this.#look(letIn)
  }

  #look(letIn: LetIn): void {
    const { link, user, changes } = letIn
    const { server, serverProcess, clientProcess } = link
    if (server.over || !serverProcess.alive) {
      this.#letIn.delete(letIn)
      return
    }
    const { tokens, machine } = this.#world
    if (serverProcess.frozen || tokens.changes(user) === changes) return
    const now = machine.time.now()
    letIn.overdueSince ??= now
    if (now - letIn.overdueSince > endingMs)
      this.#world.fail(`${clientProcess.name} keeps its link, and the right of ${user} has changed`)
  }
}
