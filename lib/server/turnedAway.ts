import type { OspError } from '../errors.ts'
import type { Socket } from '../ports/socket.ts'
import { goodbyeOf } from '../runtime/refusal.ts'
import { encode } from '../wire/message.ts'
import { apps, events, version } from '../wire/protocol.ts'

/** Sockets that are not taken as links: each is told why, by one frame, and nothing of it is read. */
export class TurnedAway {
  readonly #most: number
  readonly #leaving = new Set<Socket>()

  /** Beyond `most` at once, they are closed without a word. */
  constructor(most: number) {
    this.#most = most
  }

  /** Those that have not gone yet. */
  get size(): number {
    return this.#leaving.size
  }

  async add(socket: Socket, why: OspError): Promise<void> {
    if (this.#leaving.size >= this.#most) return socket.destroy()
    this.#leaving.add(socket)
    const { number: event, app } = events.GoodbyeNtf
    const payload = encode(goodbyeOf(why))
    await socket.close({ version, flags: 0, event, seq: 0, app: apps[app], instance: 0, payload })
    this.#leaving.delete(socket)
  }

  /** Waits for none of them any more. */
  end(): void {
    for (const socket of this.#leaving) socket.destroy()
  }
}
