import { OspError } from '../../errors.ts'
import { fixed, type Limits } from '../../limits.ts'
import type { Clock } from '../../ports/platform.ts'
import { Alarm } from '../../runtime/alarm.ts'
import type { Session } from './session.ts'

type Link = Pick<Session, 'user' | 'pauseFrame' | 'close'>

interface IncompleteFrame {
  bytes: number
  readonly sinceMs: number
  /** `passed`: it is read although its user exceeds the share. `paused`: it waits to be passed. */
  state: 'free' | 'passed' | 'paused'
}

/** Interval in which incomplete frames are checked while they take more than the memory for them. */
const checkMs = 1_000

/**
 * Limits the memory of incomplete frames on all links. Each user with such a frame has an even share of it. If the frames
 * take more memory than there is, links of users beyond their share are paused, except a few at a time, and a frame that is
 * not complete after some seconds ends its link.
 */
export class IncompleteFrames {
  readonly #maxBytes: number
  readonly #maxPassed: number
  readonly #clock: Clock
  readonly #alarm: Alarm
  /** In the order in which the frames began. */
  readonly #frames = new Map<Link, IncompleteFrame>()
  readonly #byUser = new Map<string, number>()
  #bytes = 0
  #passed = 0
  #paused = 0

  constructor({ chunkMemoryBytes, chunkBytes }: Pick<Limits, 'chunkMemoryBytes' | 'chunkBytes'>, clock: Clock) {
    this.#maxBytes = chunkMemoryBytes
    this.#maxPassed = Math.max(1, Math.floor(chunkMemoryBytes / chunkBytes))
    this.#clock = clock
    this.#alarm = new Alarm(clock, () => this.#check())
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Sets the memory of the incomplete frame of a link; 0 if it is complete, or the link has ended. */
  update(link: Link, bytes: number): void {
    const known = this.#frames.get(link)
    if (bytes === 0) {
      if (known) this.#end(link, known)
      return
    }
    const frame = known ?? { bytes: 0, sinceMs: this.#clock.now(), state: 'free' }
    if (!known) this.#frames.set(link, frame)
    this.#add(link.user, bytes - frame.bytes)
    frame.bytes = bytes
    if (frame.state !== 'free' || !this.#exceedsShare(link.user)) return
    this.#alarm.by(this.#clock.now() + checkMs)
    if (this.#pass(frame)) return
    frame.state = 'paused'
    this.#paused++
    link.pauseFrame(true)
  }

  stop(): void {
    this.#alarm.stop()
  }

  /** Passes a frame unless too many are passed already. */
  #pass(frame: IncompleteFrame): boolean {
    if (this.#passed >= this.#maxPassed) return false
    frame.state = 'passed'
    this.#passed++
    return true
  }

  #end(link: Link, frame: IncompleteFrame): void {
    this.#frames.delete(link)
    this.#add(link.user, -frame.bytes)
    if (frame.state === 'passed') this.#passed--
    if (frame.state === 'paused') this.#resume(link)
    if (this.#paused === 0) return
    for (const [other, paused] of [...this.#frames]) {
      if (paused.state !== 'paused') continue
      if (!this.#exceedsShare(other.user)) paused.state = 'free'
      else if (!this.#pass(paused)) continue
      this.#resume(other)
    }
  }

  #resume(link: Link): void {
    this.#paused--
    link.pauseFrame(false)
  }

  #check(): void {
    if (this.#bytes <= this.#maxBytes) return
    const now = this.#clock.now()
    const text = 'a frame was not completed in time while the server is short of memory for incomplete frames'
    for (const [link, { sinceMs }] of [...this.#frames]) {
      if (sinceMs + fixed.contendedFrameMs > now) break
      if (this.#exceedsShare(link.user)) void link.close(new OspError('timed-out', text))
    }
    this.#alarm.by(now + checkMs)
  }

  #exceedsShare(user: string): boolean {
    return this.#bytes > this.#maxBytes && (this.#byUser.get(user) ?? 0) > this.#maxBytes / this.#byUser.size
  }

  #add(user: string, bytes: number): void {
    this.#bytes += bytes
    const sum = (this.#byUser.get(user) ?? 0) + bytes
    if (sum > 0) this.#byUser.set(user, sum)
    else this.#byUser.delete(user)
  }
}
