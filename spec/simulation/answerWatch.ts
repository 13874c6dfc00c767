import { events } from '../../lib/wire/protocol.ts'
import type { Link } from './network.ts'
import { fullBytes } from './socket.ts'
import type { VirtualTime } from './time.ts'
import type { Trace } from './trace.ts'

/** Requests to a server, except chunks: one reply can answer many chunks. */
const requests: ReadonlySet<number> = new Set(
  Object.values(events).flatMap(({ kind, number }) =>
    kind === 'request' && number !== events.PostFileReq.number ? [number] : [],
  ),
)

/** Maximum time of a reply while the server runs and its socket accepts data. */
const answerMs = 60_000

/** The unanswered requests of a link: the time of arrival by seq. */
interface Owed {
  readonly link: Link
  readonly since: Map<number, number>
  readonly answered: Set<number>
}

/** Checks that a server answers each request or ends its link, so that no client waits forever. */
export class AnswerWatch {
  readonly #trace: Trace
  readonly #time: VirtualTime
  readonly #links = new Set<Owed>()

  constructor(trace: Trace, time: VirtualTime) {
    this.#trace = trace
    this.#time = time
  }

  watch(link: Link): void {
    const owed: Owed = { link, since: new Map(), answered: new Set() }
    this.#links.add(owed)
    const { server } = link
    const { heard, sent } = server
    server.heard = (frame) => {
      if (requests.has(frame.event) && !owed.answered.has(frame.seq) && !owed.since.has(frame.seq))
        owed.since.set(frame.seq, this.#now)
      return heard(frame)
    }
    server.sent = (frame) => {
      sent(frame)
      if (requests.has(frame.event) || !owed.since.delete(frame.seq)) return
      owed.answered.add(frame.seq)
    }
  }

  /** Called after every step. */
  check(): void {
    for (const owed of this.#links) this.#look(owed)
  }

  #look(owed: Owed): void {
    const { link, since } = owed
    const { server, serverProcess, clientProcess } = link
    if (server.over || !serverProcess.alive) {
      this.#links.delete(owed)
      return
    }
    const [oldest] = since
    if (!oldest || this.#now - oldest[1] <= answerMs) return
    const [seq] = oldest
    // If the process was frozen, or the socket accepted nothing, the time starts again.
    if (serverProcess.frozen || server.bytesUnderWay > fullBytes / 2) since.set(seq, this.#now)
    else this.#trace.fail(`request ${seq} of ${clientProcess.name} was neither answered nor refused`)
  }

  get #now(): number {
    return this.#time.now()
  }
}
