import { Link, type Request } from '../../lib/core/link.ts'
import type { OspError } from '../../lib/errors.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import type { WireMessage } from '../../lib/wire/message.ts'
import { VirtualClock } from '../support/virtualClock.ts'

/** 0 <= fraction < 1, the same again for the same seed (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** What the way between two links does to frames. */
export interface Weather {
  readonly seed: number
  /** Parts of one. */
  readonly loss: number
  readonly repeat: number
  /** Frames take up to so long, and overtake each other. */
  readonly delayMs: number
  /** Replies take up to so long. */
  readonly workMs: number
}

/** One end: a link, what it carried out (by seq), and the contexts that got a reply. */
export class End {
  readonly link: Link<number>
  readonly carriedOut: number[] = []
  readonly replied: number[] = []
  dead: OspError | undefined
  alarm: Disposable | undefined

  constructor(side: 'client' | 'server', fraction: () => number, now: number) {
    this.link = new Link({ keepAliveMs: 15_000, side, fraction }, false, now)
  }
}

/** Two links, joined by a way that loses, repeats and reorders frames. */
export class LossyPair {
  readonly clock = new VirtualClock()
  readonly client: End
  readonly server: End
  readonly #weather: Weather
  readonly #fraction: () => number
  readonly #answer: (request: Request) => WireMessage

  constructor(weather: Weather, answer: (request: Request) => WireMessage) {
    this.#weather = weather
    this.#answer = answer
    this.#fraction = seeded(weather.seed)
    this.client = new End('client', this.#fraction, this.clock.now())
    this.server = new End('server', this.#fraction, this.clock.now())
    this.pump()
  }

  /** Sends what waits, and sets the alarms. */
  pump(): void {
    for (const end of [this.client, this.server]) {
      for (let next = this.#next(end); next; next = this.#next(end)) {
        this.#carry(next.frame, end)
        next.onFlushed?.()
      }
      end.alarm?.[Symbol.dispose]()
      end.alarm = end.dead ? undefined : this.clock.alarm(end.link.deadline, () => this.#advance(end))
    }
  }

  #next(end: End): ReturnType<Link<number>['next']> {
    return end.dead ? undefined : end.link.next(this.clock.now())
  }

  #carry(frame: Frame, from: End): void {
    const { loss, repeat, delayMs } = this.#weather
    const to = from === this.client ? this.server : this.client
    for (let copies = this.#fraction() < repeat ? 2 : 1; copies > 0; copies--) {
      if (this.#fraction() < loss) continue
      this.#after(delayMs, () => this.#receive(to, frame))
    }
  }

  #receive(end: End, frame: Frame): void {
    if (end.dead) return
    const received = end.link.receive(frame, this.clock.now())
    if (received?.kind === 'reply') end.replied.push(received.context)
    if (received?.kind !== 'request') return
    const { request } = received
    if (request.message.event !== 'PostFileReq') end.carriedOut.push(request.seq)
    this.#after(this.#weather.workMs, () => end.link.reply(request, this.#answer(request)))
  }

  #advance(end: End): void {
    end.dead = end.link.advance(this.clock.now())
    this.pump()
  }

  #after(mostMs: number, run: () => void): void {
    this.clock.alarm(this.clock.now() + this.#fraction() * mostMs, () => {
      run()
      this.pump()
    })
  }
}
