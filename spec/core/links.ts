import { Link } from '../../lib/core/link.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import type { EventName } from '../../lib/wire/message.ts'

/** Of the links' keep-alive, in milliseconds. */
export const interval = 15_000
/** A link at second 0, without jitter. */
export const linkOf = (side: 'client' | 'server', reliable = true, first?: EventName) =>
  new Link<string>({ keepAliveMs: interval, side, fraction: () => 0, ...(first && { first }) }, reliable, 0)

/** What the link hands to a socket that takes everything, at `now`. */
export function handed(link: Link<string>, now = 0): Frame[] {
  const frames: Frame[] = []
  for (let next = link.next(now); next; next = link.next(now)) {
    frames.push(next.frame)
    next.onFlushed?.()
  }
  return frames
}
