import { decode } from '../../lib/wire/message.ts'
import { events } from '../../lib/wire/protocol.ts'
import type { Link } from './network.ts'
import type { VirtualTime } from './time.ts'
import type { Tokens } from './tokens.ts'
import type { Trace } from './trace.ts'

/** The longest that a link is left to whoever's right has changed. */
const endingMs = 1_000

/** A link that was let in. */
interface LetIn {
  readonly link: Link
  readonly user: string
  /** How often the right of the user had changed; -1 where it was not by the token of then. */
  readonly changes: number
  /** Since when the server runs and should have ended it. */
  overdueSince: number | undefined
}

/** That the links end which a token has let in that holds no more. */
export class RightsWatch {
  readonly #trace: Trace
  readonly #time: VirtualTime
  readonly #tokens: Tokens
  readonly #letIn = new Set<LetIn>()

  constructor(trace: Trace, time: VirtualTime, tokens: Tokens) {
    this.#trace = trace
    this.#time = time
    this.#tokens = tokens
  }

  watch(link: Link): void {
    const { server } = link
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
      // One that stood still can have its answer from before the change, and is told of that now.
      const changes = token === this.#tokens.now(user) ? this.#tokens.changes(user) : -1
      this.#letIn.add({ link, user, changes, overdueSince: undefined })
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
    if (serverProcess.frozen || this.#tokens.changes(user) === changes) return
    const now = this.#time.now()
    letIn.overdueSince ??= now
    if (now - letIn.overdueSince > endingMs)
      this.#trace.fail(`${clientProcess.name} keeps its link, and the right of ${user} has changed`)
  }
}
