import { OspError } from '../../errors.ts'
import type { Platform } from '../../ports/platform.ts'
import type { Backoff } from '../../runtime/backoff.ts'
import { wait, whenAborted } from '../../runtime/wait.ts'
import type { WireMessage } from '../../wire/message.ts'
import { registFlags } from '../../wire/protocol.ts'
import { type OnlineLink, protocolViolation, refusalBackoff } from '../connection/session.ts'

/** The server's answer to REGIST on a link. */
export interface Registered extends WireMessage<'RegistAck'> {
  readonly link: OnlineLink
}

export interface RegistrationOptions {
  readonly platform: Pick<Platform, 'clock' | 'random'>
  readonly user: string
  /** The name of the device for which the client listens, if it has one. */
  readonly device: string | undefined
  /** Time for retries after refusals that are not final. */
  readonly retryForMs: number
  /** Resolves with whether the client listens, when it is ready to receive. */
  readonly listening: () => Promise<boolean>
  readonly granted: (registered: Registered) => void
  /** Called when another program of the user listens. The next REGIST is without listening. */
  readonly superseded: (error: OspError) => void
  /** Called with a final error, or when the time for retries is up. */
  readonly failed: (error: OspError) => void
}

/** Registers each link of a session, and again after a change; one REGIST at a time. */
export class Registration {
  readonly #options: RegistrationOptions
  readonly #backoff: Backoff
  #link: OnlineLink | undefined
  /** The flags that were granted on this link. */
  #flags: number | undefined
  /** Whether the client has asked for messages on this link, so that deliveries may arrive. */
  listened = false
  #notBeforeMs = 0
  #running = false
  /** Whether the flags may have changed since the last check. */
  #stale = false

  constructor(options: RegistrationOptions) {
    this.#options = options
    this.#backoff = refusalBackoff(options.platform, options.retryForMs)
  }

  open(link: OnlineLink): void {
    this.#link = link
    this.#flags = undefined
    this.#notBeforeMs = 0
    this.update()
  }

  lost(): void {
    this.#link = undefined
    this.listened = false
  }

  /** Registers again if the client has begun or stopped listening. */
  update(): void {
    this.#stale = true
    if (!this.#running) void this.#run()
  }

  /** Registers again after the instance was lost. */
  renew(afterMs: number): void {
    this.#flags = undefined
    this.#notBeforeMs = this.#options.platform.clock.now() + afterMs
    this.update()
  }

  async #run(): Promise<void> {
    this.#running = true
    try {
      for (let link = this.#link; this.#stale && link; link = this.#link) {
        this.#stale = false
        const flags = (await this.#options.listening()) ? registFlags.listening : 0
        if (flags === this.#flags) continue
        this.#stale = true
        await this.#register(link, flags)
      }
    } catch (error) {
      this.#options.failed(OspError.from(error))
    } finally {
      this.#running = false
    }
  }

  /** Waits until it may register, or registers. */
  async #register(link: OnlineLink, flags: number): Promise<void> {
    const { clock } = this.#options.platform
    const waitMs = this.#notBeforeMs - clock.now()
    this.#notBeforeMs = 0
    if (waitMs > 0) return await wait(clock, waitMs, link.closed).catch(() => {})
    if (link !== this.#link) return
    if (flags !== 0 && this.listened && !link.peer.socket.reliable) {
      // The server repeats its deliveries in new requests. On a link that reorders frames the client cannot know whether the
      // former requests are lost or still arrive; on a new link they cannot arrive.
      return await link.peer.close(new OspError('shutting-down', 'the client reconnects'))
    }
    this.#flags = flags
    if (flags !== 0) this.listened = true
    try {
      await this.#ask(link, flags)
    } catch (error) {
      if (link.peer.ended) await whenAborted(link.closed)
      else this.#refused(OspError.from(error), flags)
    }
  }

  async #ask(link: OnlineLink, flags: number): Promise<void> {
    const { user: userName, device } = this.#options
    const request = { event: 'RegistReq', userName, flags, ...(device === undefined ? {} : { device }) } as const
    const granted = await link.peer.ask(request).reply
    // The link can have ended after the reply.
    if (link !== this.#link) return
    this.#backoff.reset()
    try {
      if (granted.instance === 0) throw protocolViolation('it assigned no instance')
      if (granted.deliveryWindow === 0) throw protocolViolation('it granted a delivery window of 0')
      this.#options.granted({ link, ...granted })
    } catch (error) {
      await link.peer.close(OspError.from(error))
    }
  }

  #refused(error: OspError, flags: number): void {
    this.#flags = undefined
    if (error.code === 'superseded' && flags !== 0) this.#options.superseded(error)
    else if (error.retry === 'never') throw error
    else this.#notBeforeMs = this.#options.platform.clock.now() + this.#backoff.next(error)
  }
}
