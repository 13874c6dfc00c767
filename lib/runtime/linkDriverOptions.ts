import type { LinkOptions, Request } from '../core/link.ts'
import type { OspError } from '../errors.ts'
import type { Platform } from '../ports/platform.ts'
import type { Socket } from '../ports/socket.ts'
import type { AckOf, Message, NoticeName, RequestName } from '../wire/message.ts'

/** What a peer's owner hears. Nothing more after `closed`. */
export interface LinkDriverEvents {
  /** A REQ to answer, once, with `reply` or `refuse`. */
  request(request: Request): void
  notice(message: Message<NoticeName>): void
  /** A server's answer to a ping: all changes of the online list up to this version were sent before. */
  pong?(listVersion: number): void
  /** The link has ended; `why` is what the peer or the rules gave as the reason. Told exactly once, also after `close`. */
  closed(why: OspError): void
}

export interface LinkDriverOptions extends Pick<LinkOptions, 'side' | 'first' | 'keepAliveMs' | 'listVersion'> {
  readonly socket: Socket
  readonly platform: Pick<Platform, 'clock' | 'random'>
  /** Bytes of small frames that may wait for a peer that does not read. */
  readonly unsentBytes: number
  /** Hears of each whole frame that arrives, with its length, before it is looked at. */
  readonly arrived?: (bytes: number) => void
  /** Hears how many bytes of memory a begun frame takes, whenever more of it has arrived. */
  readonly begun?: (heldBytes: number) => void
}

/** A REQ that was sent: its seq at once, its reply later. */
export interface Asked<K extends RequestName> {
  readonly seq: number
  /** The ACK; rejects with what the NACK tells, or with why the link ended. An unheard rejection is silent. */
  readonly reply: Promise<Message<AckOf<K>>>
}
