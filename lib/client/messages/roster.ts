import type { EventEmitter } from 'eventemitter3'

/** Somebody who listens. */
export interface Member {
  /** The number of the link; never given again while the server runs. */
  readonly node: number
  readonly user: string
}

export interface RosterEvents {
  /** Somebody has come or gone. */
  change: [member: Member, change: 'here' | 'gone']
  /** The whole list has come, behind the changes that it makes to what was known. */
  whole: [members: readonly Member[]]
}

/**
 * The online list of the server: everybody who listens, the client itself included. While the client is offline the list
 * stays as it was; the next link brings the whole one, and what is different then is told as changes.
 */
export interface Roster extends EventEmitter<RosterEvents>, Iterable<Member> {
  /** The server's count of changes, 0 at first. Versions of different links can't be compared. */
  readonly version: number
  readonly size: number
  /** Whether this user listens. */
  has(user: string): boolean
  /** Resolves when the first whole list has come; rejects as `Client.online` does. */
  ready(): Promise<void>
}
