import { decode } from '../../lib/wire/message.ts'
import { events } from '../../lib/wire/protocol.ts'
import type { Link } from './network.ts'
import type { VirtualTime } from './time.ts'
import type { Tokens } from './tokens.ts'
import type { Trace } from './trace.ts'

/** Maximum time for which a link survives a change of its user's rights. */
const endingMs = 1_000

/** A link that has logged in. */
interface LetIn {
  readonly link: Link
  readonly user: string
  /** Number of changes of the user's rights so far; -1 if the token was not the current one. */
  readonly changes: number
  /** The time since which the server runs and should have ended it. */
  overdueSince: number | undefined
}

/** Checks that a link ends when the token that it used is revoked. */
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
      // A process that was frozen can receive its reply from before the change now.
      const changes = token === this.#tokens.now(user) ? this.#tokens.changes(user) : -1
      this.#letIn.add({ link, user, changes, overdueSince: undefined })
    }
  }

  /** Called after every step. */
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
      this.#trace.fail(`${clientProcess.name} keeps its link, although the rights of ${user} have changed`)
  }
}
