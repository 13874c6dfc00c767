import type { Fields } from './fields.ts'
import { boundedU64, bytes, list, optionalField, raw, rest, str, struct, u8, u16, u32, u64 } from './fields.ts'

/** The protocol version that this package speaks. */
export const version = 1

/** The services of a server, by number. App 0 is the link itself. */
export const apps = { link: 0, file: 1, message: 2 } as const
export type AppName = keyof typeof apps

/**
 * Bits of `features` in HELLO. `uncheckedContent`: the checksum of a frame does not cover the content of a file. `storedFiles`: the
 * server answers the requests about stored files. `putFiles`: the server accepts PUT_FILES_REQ.
 */
export const features = { uncheckedContent: 1, storedFiles: 2, putFiles: 4 } as const

/** The digest algorithms, by their number on the wire. */
export const digestNumbers = { md5: 1, sha256: 2, xxh128: 3 } as const

/** The digest algorithms by number. */
export const digestNames: ReadonlyMap<number, keyof typeof digestNumbers> = new Map(
  Object.entries(digestNumbers).map(([name, number]) => [number, name as keyof typeof digestNumbers]),
)

/** The outcomes of CANCEL_FILE_REQ. */
export const cancelOutcomes = { nothing: 0, removed: 1, published: 2 } as const

/** The flags of STAT_FILE_REQ. `digest`: the server computes the digest if it does not know it. */
export const statFlags = { digest: 1 } as const

/** The flags of RENAME_FILE_REQ. `replace`: a file that has the new name is replaced. */
export const renameFlags = { replace: 1 } as const

/** The flags of REGIST_REQ. `listening`: appear in the presence list, and receive messages. */
export const registFlags = { listening: 1 } as const

/**
 * The flags of LIST_MSG_REQ. `aside`: list the messages that were set aside, not the waiting ones. `receipts`: list the receipts, not
 * the messages. REMOVE_MSG_REQ has `receipts` as well.
 */
export const listMsgFlags = { aside: 1, receipts: 2 } as const

/** The states of a receipt. */
export const receiptStates = { handled: 1, rejected: 2, expired: 3 } as const

/** The contents of REGIST_LIST_NTF and LIST_ACK, and of each of their entries. */
export const rosterKind = { whole: 0, changes: 1 } as const
export const rosterChange = { gone: 0, here: 1 } as const

/** The status of a message for a recipient. `unseen` is stored too, for a name under which no user has logged in yet. */
export const deliveryStatus = { online: 0, stored: 1, unseen: 2 } as const

/** The side that sends an event. */
export type From = 'client' | 'server' | 'both'
/** The destination of a request: the daemon of an app (instance 0), an instance, or the other end of the link itself. */
export type To = 'daemon' | 'instance' | 'peer'

const row =
  <const K extends string>(kind: K) =>
  <const F extends Fields>(number: number, app: AppName, from: From, fields: F) =>
    ({ kind, number, app, from, fields, codec: struct(fields) }) as const

/** A request `…Req`. Its replies are `…Ack` and, if there is such an event, `…Nack`. */
const request = <const F extends Fields>(number: number, app: AppName, from: From, to: To, fields: F) =>
  ({ ...row('request')(number, app, from, fields), to }) as const

const nack = <const F extends Fields>(number: number, app: AppName, from: From, more: F) =>
  row('nack')(number, app, from, { ...refusal, ...more })

const ack = row('ack')
const notice = row('notice')
const refusal = { code: u16, retryAfter: u32, text: str }
const upload = { fileName: str, size: boundedU64, modifiedAt: u64, digest: u8 }
/** A file of PUT_FILES_REQ, and the refusal of one; `file` is its index in the REQ. */
const putFile = struct({ ...upload, fileDigest: bytes })
const refusedFile = struct({ file: u16, ...refusal })
const metadata = list(struct({ key: str, value: str }))
/**
 * The server checks `recipients` before the content is sent. A request with `recipients` also has `metadata`, and a request with
 * `fileDigest` has both; these lists can be empty.
 */
const optionalParts = {
  metadata: optionalField(metadata),
  recipients: optionalField(list(str)),
  fileDigest: optionalField(bytes),
}
/** The reply to a request whose `fileDigest` is that of a stored file. All other fields are then 0. */
const alreadyStored = optionalField(struct({ storedName: str, replaced: u8 }))
const granted = { instance: u16, progress: u64, chunk: u32, window: u32 }
/** An entry of the presence list, or of its changes. */
export const rosterEntry = struct({ change: u8, node: u32, userName: str })
const roster = { listVersion: u32, kind: u8, members: list(rosterEntry) }
const id = raw(16)
/** A message of POST_MSG_REQ, and the refusal of one; `message` is its index in the REQ. */
const postedMessage = struct({ messageId: id, recipients: list(str), body: bytes })
const refusedMessage = struct({ message: u16, ...refusal, recipients: list(str) })
/** A message of DELIVER_MSG_REQ and LIST_MSG_ACK. Its bytes are the same for all recipients. The body is encoded by messageBody.ts. */
const deliveredMessage = struct({ messageId: id, mailboxSeq: u64, sender: str, sentAt: u64, body: bytes })
/** The message that refers to a file, and its recipients. */
const fileNotice = struct({ messageId: id, recipients: list(str) })
/** The right to read a file of another user, from a reference (messageBody.ts). */
const grant = struct({ owner: str, readers: list(str), until: u64, proof: bytes })
const rejectedMessage = struct({ mailboxSeq: u64, text: str })
/** The results of handled messages whose senders have asked for receipts. */
const results = optionalField(list(struct({ mailboxSeq: u64, result: str })))
/** A known device of the user. `seenAt`: ms since 1970. `waiting`: the messages that it has not handled. */
const device = struct({ device: str, seenAt: u64, listening: u8, waiting: u32 })
/** A stored file. `digest` is 0 and `fileDigest` is empty if the server does not know the digest. */
const storedFile = {
  fileName: str,
  size: u64,
  modifiedAt: u64,
  storedAt: u64,
  version: str,
  digest: u8,
  fileDigest: bytes,
  metadata,
}

/**
 * Every event of the protocol, by its name in the seed without `EV_` and the direction. Numbers, directions, fields, types,
 * encoder, decoder, dispatcher and the tables in docs/protocol.md derive from this table.
 */
export const events = {
  StartPostFileReq: request(1, 'file', 'client', 'daemon', { ...upload, ...optionalParts }),
  StartPostFileAck: ack(2, 'file', 'server', { ...granted, stored: alreadyStored }),
  StartPostFileNack: nack(3, 'file', 'server', {}),
  PostFileReq: request(4, 'file', 'client', 'instance', { progress: u64, content: rest }),
  PostFileAck: ack(5, 'file', 'server', { progress: u64, durable: u64 }),
  FileMd5Req: request(6, 'file', 'client', 'instance', {
    digest: bytes,
    notice: optionalField(fileNotice),
    receipts: optionalField(u8),
  }),
  FileMd5Ack: ack(7, 'file', 'server', {
    storedName: str,
    replaced: optionalField(u8),
    unseen: optionalField(list(str)),
    notified: optionalField(list(str)),
  }),
  FileMd5Nack: nack(8, 'file', 'server', { progress: u64 }),
  PauseFileReq: request(9, 'file', 'client', 'instance', {}),
  PauseFileAck: ack(10, 'file', 'server', { progress: u64, durable: u64 }),
  ContinuePostFileReq: request(11, 'file', 'client', 'daemon', {
    ...upload,
    progress: u64,
    ...optionalParts,
  }),
  ContinuePostFileAck: ack(12, 'file', 'server', {
    ...granted,
    checkpoint: u64,
    checkpointDigest: bytes,
    stored: alreadyStored,
  }),
  ContinuePostFileNack: nack(13, 'file', 'server', {}),
  CancelFileReq: request(14, 'file', 'client', 'daemon', { fileName: str }),
  CancelFileAck: ack(15, 'file', 'server', { outcome: u8 }),
  CancelFileNack: nack(16, 'file', 'server', {}),
  RegistReq: request(17, 'message', 'client', 'daemon', { userName: str, flags: u8, device: optionalField(str) }),
  RegistAck: ack(18, 'message', 'server', { instance: u16, listVersion: u32, deliveryWindow: u16 }),
  RegistNack: nack(19, 'message', 'server', {}),
  RegistListNtf: notice(20, 'message', 'server', roster),
  PostMsgReq: request(21, 'message', 'client', 'instance', { messages: list(postedMessage) }),
  PostMsgAck: ack(22, 'message', 'server', { statuses: list(list(u8)), refused: list(refusedMessage) }),
  PostMsgNack: nack(23, 'message', 'server', {}),
  DeliverMsgReq: request(24, 'message', 'server', 'peer', { attempt: u8, messages: list(deliveredMessage) }),
  DeliverMsgAck: ack(25, 'message', 'client', { mailboxSeq: u64, rejected: list(rejectedMessage), results }),
  ListReq: request(26, 'message', 'client', 'daemon', {}),
  ListAck: ack(27, 'message', 'server', roster),
  PostFileNack: nack(28, 'file', 'server', { progress: u64 }),
  PauseFileNack: nack(29, 'file', 'server', {}),
  DeliverMsgNtf: notice(30, 'message', 'client', { mailboxSeq: u64, results }),
  PutFileReq: request(31, 'file', 'client', 'daemon', { ...upload, fileDigest: bytes, content: rest }),
  PutFileAck: ack(32, 'file', 'server', { storedName: str, replaced: u8 }),
  PutFileNack: nack(33, 'file', 'server', {}),
  ListFilesReq: request(34, 'file', 'client', 'daemon', { prefix: str, after: str, most: u16 }),
  ListFilesAck: ack(35, 'file', 'server', { files: list(struct(storedFile)), more: u8 }),
  ListFilesNack: nack(36, 'file', 'server', {}),
  StatFileReq: request(37, 'file', 'client', 'daemon', { fileName: str, flags: u8 }),
  StatFileAck: ack(38, 'file', 'server', storedFile),
  StatFileNack: nack(39, 'file', 'server', {}),
  RemoveFileReq: request(40, 'file', 'client', 'daemon', { fileName: str, version: str }),
  RemoveFileAck: ack(41, 'file', 'server', { removed: u8 }),
  RemoveFileNack: nack(42, 'file', 'server', {}),
  RenameFileReq: request(43, 'file', 'client', 'daemon', { fileName: str, newName: str, version: str, flags: u8 }),
  RenameFileAck: ack(44, 'file', 'server', { replaced: u8 }),
  RenameFileNack: nack(45, 'file', 'server', {}),
  ReadFileReq: request(46, 'file', 'client', 'daemon', {
    fileName: str,
    version: str,
    offset: u64,
    length: u32,
    grant: optionalField(grant),
  }),
  ReadFileAck: ack(47, 'file', 'server', { offset: u64, content: rest }),
  ReadFileNack: nack(48, 'file', 'server', {}),
  ListMsgReq: request(50, 'message', 'client', 'daemon', { flags: u8, afterSeq: u64, most: u16 }),
  ListMsgAck: ack(51, 'message', 'server', { messages: list(deliveredMessage) }),
  ListMsgNack: nack(52, 'message', 'server', {}),
  ReturnMsgReq: request(53, 'message', 'client', 'daemon', { mailboxSeqs: list(u64) }),
  ReturnMsgAck: ack(54, 'message', 'server', {}),
  ReturnMsgNack: nack(55, 'message', 'server', {}),
  RemoveMsgReq: request(56, 'message', 'client', 'daemon', { mailboxSeqs: list(u64), flags: optionalField(u8) }),
  RemoveMsgAck: ack(57, 'message', 'server', {}),
  RemoveMsgNack: nack(58, 'message', 'server', {}),
  ReceiptsNtf: notice(59, 'message', 'server', {}),
  ListDevicesReq: request(60, 'message', 'client', 'daemon', {}),
  ListDevicesAck: ack(61, 'message', 'server', { devices: list(device) }),
  ListDevicesNack: nack(62, 'message', 'server', {}),
  HelloReq: request(64, 'link', 'client', 'peer', {
    versions: list(u8),
    userName: str,
    token: str,
    session: id,
    software: str,
    features: u32,
    attempt: optionalField(u32),
  }),
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
    maxPut: optionalField(u32),
  }),
  HelloNack: nack(66, 'link', 'server', {}),
  PingReq: request(67, 'link', 'both', 'peer', {}),
  /** Only a server sends `listVersion`. */
  PingAck: ack(68, 'link', 'both', { listVersion: optionalField(u32) }),
  GoodbyeNtf: notice(69, 'link', 'both', refusal),
  RemoveDeviceReq: request(70, 'message', 'client', 'daemon', { device: str }),
  RemoveDeviceAck: ack(71, 'message', 'server', { removed: u8 }),
  RemoveDeviceNack: nack(72, 'message', 'server', {}),
  PutFilesReq: request(73, 'file', 'client', 'daemon', { files: list(putFile), content: rest }),
  PutFilesAck: ack(74, 'file', 'server', {
    stored: list(struct({ storedName: str, replaced: u8 })),
    refused: list(refusedFile),
  }),
  PutFilesNack: nack(75, 'file', 'server', {}),
} as const
