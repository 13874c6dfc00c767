import type { Request } from '../core/link.ts'
import type { Holder } from '../core/pool.ts'
import type { OspError } from '../errors.ts'
import type { Limits } from '../limits.ts'
import type { SessionLink } from '../ports/links.ts'
import type { Platform } from '../ports/platform.ts'
import type { OnConflict, Storage } from '../ports/storage.ts'
import type { Asked } from '../runtime/linkDriver.ts'
import type { Encoded, NoticeName, RequestName, WireMessage } from '../wire/message.ts'
import type { ServerLog } from './logEvents.ts'
import type { RetentionClock } from './retentionClock.ts'

/** What the parts of a server share. */
export interface ServerContext {
  readonly platform: Platform
  readonly storage: Storage
  readonly limits: Limits
  readonly onConflict: OnConflict
  readonly log: ServerLog
  readonly age: Pick<RetentionClock, 'now'>
}

/** The client at the other end of a link, as an app sees it. */
export interface Connection extends Holder {
  readonly user: string
  /** The address from which the client connected. */
  readonly from: string
  /** Whether each frame of the link arrives once and in order. */
  readonly reliable: boolean
  readonly open: boolean
  /** Calls `onFlushed` once after the bytes of the reply are sent, or never if the link ends first. */
  reply(to: Request, message: WireMessage | Encoded, onFlushed?: () => void): void
  notify(message: WireMessage<NoticeName> | Encoded<NoticeName>): void
  /** Sends a REQ. Calls `onFlushed` once after its bytes are sent, or never if the link ends first. */
  ask<K extends RequestName>(message: WireMessage<K> | Encoded<K>, onFlushed?: () => void): Asked<K>
  /** Sends an unanswered REQ again, with the content of `message`. Returns false if the REQ is unsent or was answered. */
  repeat(seq: number, message: WireMessage<RequestName> | Encoded<RequestName>, onFlushed?: () => void): boolean
  /** Counts `costMs` ms of processing time that a request has taken in addition to its minimum. */
  charge(costMs: number): void
  /** Sends GOODBYE with `why` and ends the link. */
  close(why: OspError): Promise<void>
}

/** Returns the link of a client as the ports see it. */
export function sessionLinkOf({ user, session, node }: Pick<Connection, 'user' | 'session' | 'node'>): SessionLink {
  return { user, session, node }
}

/** A service of the server. It answers the requests that carry its number. */
export interface ServerApp {
  /** Resolves with the reply to a request, or `undefined` if the app has replied itself. Rejects with the OspError for the NACK. */
  handle(caller: Connection, request: Request): Promise<WireMessage | Encoded | undefined>
  /** Handles a notification of the caller. An app without it ignores them. Throws OspError `malformed`. */
  notice?(caller: Connection, message: WireMessage<NoticeName>): void
  /** Whether the caller has an upload or a registration here, which keeps a link open without requests. */
  holds(caller: Connection): boolean
  /** Handles the end of the caller's link. Drops the requests of the caller that have not started. */
  lost(caller: Connection): void
  /** Ends the work in progress and keeps the received data. Resolves when all work has ended. */
  close(): Promise<void>
}
