import type { LinkOptions, Request } from '../core/link.ts'
import type { OspError } from '../errors.ts'
import type { Platform } from '../ports/platform.ts'
import type { Socket } from '../ports/socket.ts'
import type { Frame } from '../wire/frame.ts'
import type { AckOf, Message, NoticeName, RequestName } from '../wire/message.ts'

/** The events of a link. None occurs after `closed`. */
export interface LinkDriverEvents {
  /** A REQ, to be answered once with `reply` or `refuse`. */
  request(request: Request): void
  notice(message: Message<NoticeName>): void
  /** A server's answer to a ping: all changes of the presence list up to this version were sent before. */
  pong?(listVersion: number): void
  /** The link has ended; `why` is the reason of the peer or of the rules. Occurs exactly once, also after `close`. */
  closed(why: OspError): void
}

export interface LinkDriverOptions extends Pick<LinkOptions, 'side' | 'first' | 'keepAliveMs' | 'listVersion'> {
  readonly socket: Socket
  readonly platform: Pick<Platform, 'clock' | 'random'>
  /** Bytes of small frames that may wait for a peer that does not read. */
  readonly unsentBytes: number
  /** Called with each frame that arrives and its length, before the frame is processed. */
  readonly arrived?: (bytes: number, frame: Frame) => void
  /** Called with the memory of an incomplete frame, in bytes, when more of it has arrived. */
  readonly begun?: (heldBytes: number) => void
}

/** A REQ that was sent. */
export interface Asked<K extends RequestName> {
  readonly seq: number
  /** Resolves with the ACK. Rejects with the error of the NACK or of the end of the link; ignoring the rejection is safe. */
  readonly reply: Promise<Message<AckOf<K>>>
}
