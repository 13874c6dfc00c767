import type { LinkDriver } from '../../runtime/linkDriver.ts'

/** Whether a link is read: not while too much of what it has asked waits to be done, nor while its user is slowed or its begun frame waits. */
export class ReadGate {
  readonly #peer: Pick<LinkDriver, 'pause' | 'resume'>
  readonly #mostWaiting: () => number
  #waitingBytes = 0
  #slowed = false
  #frameWaits = false
  #paused = false

  constructor(peer: Pick<LinkDriver, 'pause' | 'resume'>, mostWaiting: () => number) {
    this.#peer = peer
    this.#mostWaiting = mostWaiting
  }

  /** So many bytes wait to be carried out; negative: no more. */
  hold(bytes: number): void {
    this.#waitingBytes += bytes
    this.#decide()
  }

  slow(yes: boolean): void {
    this.#slowed = yes
    this.#decide()
  }

  /** Whether its begun frame waits for memory. */
  pauseFrame(yes: boolean): void {
    this.#frameWaits = yes
    this.#decide()
  }

  #decide(): void {
    const pause = this.#slowed || this.#frameWaits || this.#waitingBytes > this.#mostWaiting()
    if (pause === this.#paused) return
    this.#paused = pause
    if (pause) this.#peer.pause()
    else this.#peer.resume()
  }
}
