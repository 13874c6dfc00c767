import type { Request } from '../core/link.ts'
import type { Holder } from '../core/pool.ts'
import type { Message } from '../wire/message.ts'

/** The client at the other end of a link, as an app sees it. */
export interface Caller extends Holder {
  /** The user whom the link belongs to. */
  readonly user: string
  /** Frames of its link arrive all, once and in order. */
  readonly reliable: boolean
  /** Whether the link lives. */
  readonly open: boolean
}

/** A service of the server: it answers the requests that carry its number. */
export interface App {
  /** The reply to a request; rejects with the OspError that its NACK tells. */
  handle(caller: Caller, request: Request): Promise<Message>
  /** The caller's link has ended. Nothing that it asked for and that has not begun is begun any more. */
  lost(caller: Caller): void
  /** Ends the work under way, keeping what was received. Resolves when nothing is left to do. */
  close(): Promise<void>
}
