import { OspError } from '../../errors.ts'
import { fixed, type Limits } from '../../limits.ts'
import type { Clock } from '../../ports/platform.ts'
import { Alarm } from '../../runtime/alarm.ts'

/** A link, as far as the frames that it has begun are concerned. */
export interface FrameSender {
  readonly user: string
  /** Reads no more of it, or reads on. */
  pauseFrame(yes: boolean): void
  close(why: OspError): Promise<void>
}

interface Begun {
  bytes: number
  readonly sinceMs: number
  /** `free`: it is read; `passed`: it is read although its user has more than a share; `paused`: it waits for a pass. */
  state: 'free' | 'passed' | 'paused'
}

/** How often begun frames are looked at while they take more than all of the memory. */
const lookMs = 1_000

/**
 * The memory of frames that have begun and are not complete, on all links. Each user with such a frame has an even share of
 * it. Where all together take more than there is, links of users beyond their share are paused, but for a few at a time,
 * and a frame that is not complete after some seconds ends its link.
 */
export class BegunFrames {
  readonly #mostBytes: number
  readonly #mostPasses: number
  readonly #clock: Clock
  readonly #alarm: Alarm
  /** The frame that began first comes first. */
  readonly #begun = new Map<FrameSender, Begun>()
  readonly #byUser = new Map<string, number>()
  #bytes = 0
  #passes = 0
  #paused = 0

  constructor({ chunkMemoryBytes, chunkBytes }: Pick<Limits, 'chunkMemoryBytes' | 'chunkBytes'>, clock: Clock) {
    this.#mostBytes = chunkMemoryBytes
    this.#mostPasses = Math.max(1, Math.floor(chunkMemoryBytes / chunkBytes))
    this.#clock = clock
    this.#alarm = new Alarm(clock, () => this.#look())
  }

  /** Bytes of begun frames. */
  get bytes(): number {
    return this.#bytes
  }

  /** The begun frame of a link takes this much memory; 0: it is complete, or the link has ended. */
  holds(sender: FrameSender, bytes: number): void {
    const known = this.#begun.get(sender)
    if (bytes === 0) {
      if (known) this.#end(sender, known)
      return
    }
    const begun = known ?? { bytes: 0, sinceMs: this.#clock.now(), state: 'free' }
    if (!known) this.#begun.set(sender, begun)
    this.#add(sender.user, bytes - begun.bytes)
    begun.bytes = bytes
    if (begun.state === 'free' && this.#isBeyondShare(sender.user)) this.#contend(sender, begun)
  }

  #contend(sender: FrameSender, begun: Begun): void {
    this.#alarm.by(this.#clock.now() + lookMs)
    if (this.#passes < this.#mostPasses) this.#pass(begun)
    else this.#pause(sender, begun)
  }

  #pause(sender: FrameSender, begun: Begun): void {
    begun.state = 'paused'
    this.#paused++
    sender.pauseFrame(true)
  }

  #pass(begun: Begun): void {
    begun.state = 'passed'
    this.#passes++
  }

  #end(sender: FrameSender, begun: Begun): void {
    this.#begun.delete(sender)
    this.#add(sender.user, -begun.bytes)
    if (begun.state === 'passed') this.#passes--
    if (begun.state === 'paused') this.#resume(sender)
    if (this.#paused > 0) this.#relieve()
  }

  /** Reads on where there is room again. */
  #relieve(): void {
    for (const [sender, begun] of [...this.#begun]) {
      if (begun.state !== 'paused') continue
      if (!this.#isBeyondShare(sender.user)) begun.state = 'free'
      else if (this.#passes < this.#mostPasses) this.#pass(begun)
      else continue
      this.#resume(sender)
    }
  }

  #resume(sender: FrameSender): void {
    this.#paused--
    sender.pauseFrame(false)
  }

  #look(): void {
    if (this.#bytes <= this.#mostBytes) return
    const now = this.#clock.now()
    const text = 'the peer has begun a frame and did not complete it in time, while the memory for such frames is short'
    for (const [sender, { sinceMs }] of [...this.#begun]) {
      if (sinceMs + fixed.contendedFrameMs > now) break
      if (this.#isBeyondShare(sender.user)) void sender.close(new OspError('timed-out', text))
    }
    this.#alarm.by(now + lookMs)
  }

  #isBeyondShare(user: string): boolean {
    return this.#bytes > this.#mostBytes && (this.#byUser.get(user) ?? 0) > this.#mostBytes / this.#byUser.size
  }

  #add(user: string, bytes: number): void {
    this.#bytes += bytes
    const sum = (this.#byUser.get(user) ?? 0) + bytes
    if (sum > 0) this.#byUser.set(user, sum)
    else this.#byUser.delete(user)
  }

  /** Looks no more. */
  stop(): void {
    this.#alarm.stop()
  }
}
