import { OspError } from '../../errors.ts'
import type { Platform } from '../../ports/platform.ts'
import { wait } from '../../runtime/wait.ts'
import { registFlags } from '../../wire/protocol.ts'
import { protocolViolation } from '../connection/answers.ts'
import { Backoff } from '../connection/backoff.ts'
import type { OnlineLink } from '../connection/session.ts'

/** What REGIST was granted on a link. */
export interface Registered {
  readonly link: OnlineLink
  readonly instance: number
  readonly listVersion: number
  /** Deliveries that may be unanswered. */
  readonly deliveryWindow: number
}

export interface RegistrationOptions {
  readonly platform: Pick<Platform, 'clock' | 'random'>
  readonly user: string
  /** How long refusals that can pass are waited for. */
  readonly retryForMs: number
  /** Whether messages are to be received; resolves once they could be. */
  readonly listening: () => Promise<boolean>
  readonly granted: (registered: Registered) => void
  /** Another program of the user listens. It is registered without listening next. */
  readonly superseded: (why: OspError) => void
  readonly failed: (why: OspError) => void
}

/** Registers each link of a session, and anew where something has changed: one REGIST at a time. */
export class Registration {
  readonly #options: RegistrationOptions
  readonly #patience: Backoff
  #link: OnlineLink | undefined
  /** Those that were granted on this link. */
  #flags: number | undefined
  /** Deliveries may come on this link. */
  #listened = false
  #notBeforeMs = 0
  #running = false
  /** Something may have changed since it was last looked at. */
  #stale = false
  #lost = new AbortController()

  constructor(options: RegistrationOptions) {
    this.#options = options
    this.#patience = new Backoff(options.platform, options.retryForMs)
  }

  /** Whether the server has ever been asked for messages on this link. */
  get listened(): boolean {
    return this.#listened
  }

  open(link: OnlineLink): void {
    this.#link = link
    this.#lost = new AbortController()
    this.#flags = undefined
    this.#notBeforeMs = 0
    this.update()
  }

  lost(): void {
    this.#link = undefined
    this.#listened = false
    this.#lost.abort()
  }

  /** Whether it listens may have changed. */
  update(): void {
    this.#stale = true
    if (!this.#running) void this.#run()
  }

  /** The instance is lost. */
  renew(afterMs: number): void {
    this.#flags = undefined
    this.#notBeforeMs = this.#options.platform.clock.now() + afterMs
    this.update()
  }

  async #run(): Promise<void> {
    this.#running = true
    try {
      while (this.#stale && this.#link) {
        this.#stale = false
        if (await this.#step(this.#link)) this.#stale = true
      }
    } catch (error) {
      this.#options.failed(OspError.from(error))
    } finally {
      this.#running = false
    }
  }

  /** Returns whether there is more to do. */
  async #step(link: OnlineLink): Promise<boolean> {
    const { platform, listening } = this.#options
    const { signal } = this.#lost
    const flags = (await listening()) ? registFlags.listening : 0
    if (flags === this.#flags) return false
    const waitMs = this.#notBeforeMs - platform.clock.now()
    this.#notBeforeMs = 0
    if (waitMs > 0) {
      await wait(platform.clock, waitMs, signal).catch(() => {})
      return true
    }
    if (link !== this.#link) return true
    if (flags !== 0 && this.#listened && !link.peer.socket.reliable) return this.#leave(link)
    this.#flags = flags
    if (flags !== 0) this.#listened = true
    try {
      await this.#ask(link, flags)
    } catch (error) {
      if (link.peer.ended) await link.loss.why
      else this.#refused(OspError.from(error), flags)
    }
    return true
  }

  async #ask(link: OnlineLink, flags: number): Promise<void> {
    const request = { event: 'RegistReq', userName: this.#options.user, flags } as const
    const granted = await link.peer.ask(request).reply
    // It can have ended between the reply and now.
    if (link !== this.#link) return
    this.#patience.reset()
    try {
      if (granted.instance === 0) throw protocolViolation('it names no instance')
      if (granted.deliveryWindow === 0) throw protocolViolation('it grants a window of no messages')
      this.#options.granted({ link, ...granted })
    } catch (error) {
      await link.peer.close(OspError.from(error))
    }
  }

  #refused(why: OspError, flags: number): void {
    this.#flags = undefined
    if (why.code === 'superseded' && flags !== 0) this.#options.superseded(why)
    else if (why.retry === 'never') throw why
    else this.#notBeforeMs = this.#options.platform.clock.now() + this.#patience.next(why)
  }

  /**
   * The server begins its deliveries anew, with other requests; of the former ones some may have been lost, and where
   * frames are reordered nobody could tell whether they still come. A new link is clear of them.
   */
  async #leave(link: OnlineLink): Promise<boolean> {
    await link.peer.close(new OspError('shutting-down', 'the client connects anew'))
    return true
  }
}
