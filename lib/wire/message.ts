import { OspError } from '../errors.ts'
import { type Codec, type Parts, Reader, type ValueOf, Writer } from './codec.ts'
import type { Frame } from './frame.ts'
import { apps, events, version } from './protocol.ts'

export type Events = typeof events
/** The name of an event, such as `StartPostFileReq`. */
export type EventName = keyof Events

type Named<K extends EventName> = { readonly event: K } & ValueOf<Events[K]['codec']>
/** A decoded event: its name and its fields. */
export type WireMessage<K extends EventName = EventName> = K extends EventName ? Named<K> : never

type OfKind<Kind extends string> = { [K in EventName]: Events[K] extends { kind: Kind } ? K : never }[EventName]
export type RequestName = OfKind<'request'>
export type NackName = OfKind<'nack'>
export type NoticeName = OfKind<'notice'>

type Acks = { [K in RequestName]: K extends `${infer Name}Req` ? Extract<OfKind<'ack'>, `${Name}Ack`> : never }
/** The positive reply of a request. */
export type AckOf<K extends RequestName> = Acks[K]

/** Returns the positive reply of a request. */
export const ackNameOf = <K extends RequestName>(request: K): AckOf<K> => request.replace(/Req$/u, 'Ack') as AckOf<K>

/** Returns the negative reply of a request, or `undefined` if the request is never refused. */
export function nackNameOf(request: RequestName): NackName | undefined {
  const name = request.replace(/Req$/u, 'Nack')
  return name in events ? (name as NackName) : undefined
}

export const isRequest = (name: EventName): name is RequestName => events[name].kind === 'request'

const names: ReadonlyMap<number, EventName> = new Map(
  (Object.keys(events) as EventName[]).map((name) => [events[name].number, name]),
)

/** An encoded message, so that several links or replies can share its bytes. */
export interface Encoded<K extends EventName = EventName> {
  readonly event: K
  readonly payload: Parts
  /** Of a notification that is sent over many links: its frame, which is the same on all of them. */
  readonly frame?: Frame
}

/** Returns a notification whose frame is made, and encoded, once for all links. */
export function sharedNotice<K extends NoticeName>({ event, payload }: Encoded<K>): Encoded<K> {
  const { number, app } = events[event]
  const frame = { flags: 0, version, event: number, seq: 0, app: apps[app], instance: 0, payload, shared: {} }
  return { event, payload, frame }
}

/** Returns the payload of a message. Does not copy the parts of its last field. */
export function encode(message: WireMessage): Parts {
  const codec = events[message.event].codec as Codec<WireMessage>
  const writer = new Writer(codec.size(message))
  codec.write(writer, message)
  if (writer.tail.length === 0) return writer.bytes.length === 0 ? [] : [writer.bytes]
  return [writer.bytes, ...writer.tail]
}

/**
 * Returns the message of a frame. Fields of bytes alias the payload; unknown trailing bytes are ignored.
 * Throws OspError `malformed` if the event is unknown, the app is wrong or the payload is not valid for the event.
 */
export function decode(frame: { readonly event: number; readonly app: number; readonly payload: Parts }): WireMessage {
  const event = names.get(frame.event)
  if (!event) throw new OspError('malformed', `there is no event ${frame.event}`)
  const { codec, app } = events[event]
  if (apps[app] !== frame.app) throw new OspError('malformed', `the event ${event} does not belong to app ${frame.app}`)
  return { event, ...codec.read(new Reader(frame.payload)) } as WireMessage
}
