import { events } from '../../lib/wire/protocol.ts'
import type { Link } from './network.ts'
import { fullBytes } from './socket.ts'
import type { VirtualTime } from './time.ts'
import type { Trace } from './trace.ts'

/** Requests that come to a server, chunks excepted: one answer can be for many of these. */
const requests: ReadonlySet<number> = new Set(
  Object.values(events).flatMap(({ kind, number }) =>
    kind === 'request' && number !== events.PostFileReq.number ? [number] : [],
  ),
)

/** The longest that an answer takes while the server runs and its socket takes something. */
const answerMs = 60_000

/** What of a link has come to the server and is not answered, by seq, with since when. */
interface Owed {
  readonly link: Link
  readonly since: Map<number, number>
  readonly answered: Set<number>
}

/** That a server answers each request, or ends its link: whoever asks is never left to wait for nothing. */
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

  /** After every step. */
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
    // What a process that stood still, or a socket that takes nothing, holds up begins to count anew.
    if (serverProcess.frozen || server.bytesUnderWay > fullBytes / 2) since.set(seq, this.#now)
    else this.#trace.fail(`request ${seq} of ${clientProcess.name} has been neither answered nor refused`)
  }

  get #now(): number {
    return this.#time.now()
  }
}
