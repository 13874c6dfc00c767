import type { Codec } from './codec.ts'
import {
  boundedU64,
  bytes,
  type Fields,
  list,
  optional,
  raw,
  rest,
  str,
  struct,
  u8,
  u16,
  u32,
  u64,
  type ValuesOf,
} from './fields.ts'

/** The protocol version that this package speaks. */
export const version = 1

/** The services of a server, by number; app 0 is the link itself. */
export const apps = { link: 0, file: 1, message: 2 } as const
export type App = keyof typeof apps

/** Digest algorithms by their number on the wire. */
export const digestNumbers = { md5: 1, sha256: 2, xxh128: 3 } as const

/** Outcomes of CANCEL_FILE_REQ. */
export const cancelOutcomes = { nothing: 0, removed: 1, published: 2 } as const

/** Flags of REGIST_REQ: appear in the list, and receive messages. */
export const registFlags = { listening: 1 } as const

/** What REGIST_LIST_NTF and LIST_ACK hold, and what each of their entries says. */
export const rosterKind = { whole: 0, changes: 1 } as const
export const rosterChange = { gone: 0, here: 1 } as const

/** What has become of a message for a recipient; `unseen` is stored too, for a name under which no user has come in yet. */
export const deliveryStatus = { online: 0, stored: 1, unseen: 2 } as const

/** Which side sends an event. */
export type From = 'client' | 'server' | 'both'
/** Where a request goes: to the daemon (instance 0), to an instance, or to the link's other end as such. */
export type To = 'daemon' | 'instance' | 'peer'

interface Base<F extends Fields> {
  readonly number: number
  readonly app: App
  readonly from: From
  readonly fields: F
  readonly codec: Codec<ValuesOf<F>>
}

function base<const F extends Fields>(number: number, app: App, from: From, fields: F): Base<F> {
  return { number, app, from, fields, codec: struct(fields) }
}

/** A request with the names of its replies; where `nack` is absent it is never refused. */
function request<const F extends Fields, A extends string, N extends string | undefined>(
  number: number,
  app: App,
  from: From,
  to: To,
  replies: { readonly ack: A; readonly nack: N },
  fields: F,
) {
  return { kind: 'request', to, ...replies, ...base(number, app, from, fields) } as const
}

const ack = <const F extends Fields>(number: number, app: App, from: From, fields: F) =>
  ({ kind: 'ack', ...base(number, app, from, fields) }) as const

const nack = <const F extends Fields>(number: number, app: App, from: From, more: F) =>
  ({
    kind: 'nack',
    ...base(number, app, from, { code: u16, retryAfter: u32, text: str, ...more }),
  }) as const

const notice = <const F extends Fields>(number: number, app: App, from: From, fields: F) =>
  ({ kind: 'notice', ...base(number, app, from, fields) }) as const

const upload = { fileName: str, size: boundedU64, modifiedAt: u64, digest: u8 }
const granted = { instance: u16, progress: u64, chunk: u32, window: u32 }
/** An entry of the online list, or of its changes. */
export const rosterEntry = struct({ change: u8, node: u32, userName: str })
const roster = { listVersion: u32, kind: u8, members: list(rosterEntry) }
const id = raw(16)

/**
 * Every event of the protocol, by the seed's name without `EV_` and the direction: the single source for
 * numbers, directions, fields, types, encoder, decoder, dispatcher and the tables in docs/protocol.md.
 */
export const events = {
  StartPostFileReq: request(
    1,
    'file',
    'client',
    'daemon',
    { ack: 'StartPostFileAck', nack: 'StartPostFileNack' },
    upload,
  ),
  StartPostFileAck: ack(2, 'file', 'server', granted),
  StartPostFileNack: nack(3, 'file', 'server', {}),
  PostFileReq: request(
    4,
    'file',
    'client',
    'instance',
    { ack: 'PostFileAck', nack: 'PostFileNack' },
    { progress: u64, content: rest },
  ),
  PostFileAck: ack(5, 'file', 'server', { progress: u64, durable: u64 }),
  FileMd5Req: request(6, 'file', 'client', 'instance', { ack: 'FileMd5Ack', nack: 'FileMd5Nack' }, { digest: bytes }),
  FileMd5Ack: ack(7, 'file', 'server', { storedName: str, replaced: optional(u8) }),
  FileMd5Nack: nack(8, 'file', 'server', { progress: u64 }),
  PauseFileReq: request(9, 'file', 'client', 'instance', { ack: 'PauseFileAck', nack: 'PauseFileNack' }, {}),
  PauseFileAck: ack(10, 'file', 'server', { progress: u64, durable: u64 }),
  ContinuePostFileReq: request(
    11,
    'file',
    'client',
    'daemon',
    { ack: 'ContinuePostFileAck', nack: 'ContinuePostFileNack' },
    { ...upload, progress: u64 },
  ),
  ContinuePostFileAck: ack(12, 'file', 'server', { ...granted, checkpoint: u64, checkpointDigest: bytes }),
  ContinuePostFileNack: nack(13, 'file', 'server', {}),
  CancelFileReq: request(
    14,
    'file',
    'client',
    'daemon',
    { ack: 'CancelFileAck', nack: 'CancelFileNack' },
    { fileName: str },
  ),
  CancelFileAck: ack(15, 'file', 'server', { outcome: u8 }),
  CancelFileNack: nack(16, 'file', 'server', {}),
  RegistReq: request(
    17,
    'message',
    'client',
    'daemon',
    { ack: 'RegistAck', nack: 'RegistNack' },
    { userName: str, flags: u8 },
  ),
  RegistAck: ack(18, 'message', 'server', { instance: u16, listVersion: u32, deliveryWindow: u16 }),
  RegistNack: nack(19, 'message', 'server', {}),
  RegistListNtf: notice(20, 'message', 'server', roster),
  PostMsgReq: request(
    21,
    'message',
    'client',
    'instance',
    { ack: 'PostMsgAck', nack: 'PostMsgNack' },
    { messageId: id, recipients: list(str), content: bytes },
  ),
  PostMsgAck: ack(22, 'message', 'server', { recipients: list(struct({ recipient: str, status: u8 })) }),
  PostMsgNack: nack(23, 'message', 'server', { recipients: list(str) }),
  DeliverMsgReq: request(
    24,
    'message',
    'server',
    'peer',
    { ack: 'DeliverMsgAck', nack: 'DeliverMsgNack' },
    { messageId: id, mailboxSeq: u64, sender: str, sentAt: u64, content: bytes, attempt: u8 },
  ),
  DeliverMsgAck: ack(25, 'message', 'client', { mailboxSeq: u64 }),
  ListReq: request(26, 'message', 'client', 'daemon', { ack: 'ListAck', nack: undefined }, {}),
  ListAck: ack(27, 'message', 'server', roster),
  PostFileNack: nack(28, 'file', 'server', { progress: u64 }),
  PauseFileNack: nack(29, 'file', 'server', {}),
  DeliverMsgNack: nack(30, 'message', 'client', {}),
  HelloReq: request(
    64,
    'link',
    'client',
    'peer',
    { ack: 'HelloAck', nack: 'HelloNack' },
    {
      versions: list(u8),
      userName: str,
      token: str,
      session: id,
      software: str,
      features: u32,
      attempt: optional(u32),
    },
  ),
  HelloAck: ack(65, 'link', 'server', {
    version: u8,
    node: u32,
    bootId: id,
    maxFrame: u32,
    keepAlive: u32,
    maxUploads: u16,
    maxRecipients: u16,
    features: u32,
    messageIdFor: u32,
  }),
  HelloNack: nack(66, 'link', 'server', {}),
  PingReq: request(67, 'link', 'both', 'peer', { ack: 'PingAck', nack: undefined }, {}),
  /** `listVersion` comes from a server only. */
  PingAck: ack(68, 'link', 'both', { listVersion: optional(u32) }),
  GoodbyeNtf: { kind: 'notice', ...base(69, 'link', 'both', { code: u16, retryAfter: u32, text: str }) },
} as const
