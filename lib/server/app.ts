import type { Request } from '../core/link.ts'
import type { Holder } from '../core/pool.ts'
import type { OspError } from '../errors.ts'
import type { Asked } from '../runtime/linkDriverOptions.ts'
import type { Encoded, Message, NoticeName, RequestName } from '../wire/message.ts'

/** The client at the other end of a link, as an app sees it. */
export interface Connection extends Holder {
  /** The user whom the link belongs to. */
  readonly user: string
  /** The address that the link comes from. */
  readonly from: string
  /** Frames of its link arrive all, once and in order. */
  readonly reliable: boolean
  /** Whether the link lives. */
  readonly open: boolean
  reply(to: Request, message: Message | Encoded): void
  notify(message: Message<NoticeName> | Encoded<NoticeName>): void
  /** Sends a REQ; `left` runs once when its bytes have left, or never if the link ends first. */
  ask<K extends RequestName>(message: Message<K>, left?: () => void): Asked<K>
  /** Sends an unanswered REQ once more, as `message` now says it; false if it has not left yet, or was answered. */
  repeat(seq: number, message: Message<RequestName>, left?: () => void): boolean
  /** Says GOODBYE with `why` and ends the link. */
  close(why: OspError): Promise<void>
}

/** A service of the server: it answers the requests that carry its number. */
export interface App {
  /** The reply to a request, or `undefined` where the app has replied by itself; rejects with the OspError that its NACK tells. */
  handle(caller: Connection, request: Request): Promise<Message | Encoded | undefined>
  /** Whether the caller holds something here that it need not ask for again and again: an upload, a registration. */
  holds(caller: Connection): boolean
  /** The caller's link has ended. Nothing that it asked for and that has not begun is begun any more. */
  lost(caller: Connection): void
  /** Ends the work under way, keeping what was received. Resolves when nothing is left to do. */
  close(): Promise<void>
}
