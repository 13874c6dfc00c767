import { numberOf } from '../../lib/errors.ts'
import { hex } from '../../lib/runtime/hex.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { decode, type WireMessage } from '../../lib/wire/message.ts'
import { events } from '../../lib/wire/protocol.ts'
import type { Link } from './network.ts'
import type { Trace } from './trace.ts'

/** Checks that the latest link of a client survives, in whichever order the HELLO_REQs of its attempts arrive. */
export class HelloWatch {
  readonly #trace: Trace
  /** The highest attempt whose HELLO_REQ has arrived, by session. */
  readonly #latest = new Map<string, number>()

  constructor(trace: Trace) {
    this.#trace = trace
  }

  watch({ server, clientProcess }: Link): void {
    const { heard, sent } = server
    let own = { session: '', attempt: 0 }
    server.heard = (frame) => {
      if (frame.event === events.HelloReq.number) own = this.#arrived(frame)
      return heard(frame)
    }
    server.sent = (frame) => {
      sent(frame)
      if (replaces(frame) && own.attempt > 0 && own.attempt === this.#latest.get(own.session))
        this.#trace.fail(`${clientProcess.name} loses its latest link to an earlier one`)
    }
  }

  #arrived(frame: Frame): { readonly session: string; readonly attempt: number } {
    const message = decode(frame) as WireMessage<'HelloReq'>
    const [session, attempt] = [hex(message.session), message.attempt ?? 0]
    const latest = this.#latest.get(session) ?? 0
    if (attempt < latest) this.#trace.tell(`a HELLO of ${message.userName} arrives late`)
    this.#latest.set(session, Math.max(latest, attempt))
    return { session, attempt }
  }
}

function replaces(frame: Frame): boolean {
  if (frame.event !== events.GoodbyeNtf.number) return false
  return (decode(frame) as WireMessage<'GoodbyeNtf'>).code === numberOf('link-replaced')
}
