/**
 * The package's main door: a server, a client, errors and types, bound to the Node platform. Transports, storages and
 * sources come from `ospd/node` and `ospd/memory`.
 */
import { loopbackOnly } from './adapters/auth/unverified.ts'
import { nodePlatform } from './adapters/node/nodePlatform.ts'
import {
  type BoundOptions,
  type Client,
  type ConnectOptions,
  connect as connectBound,
  createClient as createBound,
} from './client/client.ts'
import { checkConnectOptions } from './client/options.ts'
import { checkServeOptions, type ServeOptions, type Server, serve as serveBound } from './server/server.ts'

export type { Client, ClientEvents, ConnectOptions } from './client/client.ts'
export type { ClientStatus } from './client/connection/session.ts'
export type { Message, MessageHandler, Receiver, RecipientState, SendOptions } from './client/messages/message.ts'
export type { Roster, RosterEvents } from './client/messages/roster.ts'
export type { TaskReason, TaskStatus } from './client/uploads/taskStatus.ts'
export type { Progress, SentFile, Upload, UploadEvents, UploadPhase } from './client/uploads/upload.ts'
export type { AddOptions, Uploads, UploadsEvents } from './client/uploads/uploads.ts'
export { type ErrorCode, type ErrorDetails, errors, OspError, type Retry } from './errors.ts'
export { defaultLimits, type Limits } from './limits.ts'
export { checkFileName, checkUserName, isFileName, isUserName, nameKey } from './names.ts'
export type { Admitted, Authenticator, Credentials } from './ports/authenticator.ts'
export type {
  ClientState,
  Receipt,
  ReceiptStore,
  StoredTask,
  TaskState,
  TaskStore,
} from './ports/clientState.ts'
export type { Log, LogEntry } from './ports/log.ts'
export type {
  Damage,
  Expired,
  MailboxBounds,
  MailboxLevel,
  MailboxStore,
  NewMessage,
  StoredMessage,
} from './ports/mailboxes.ts'
export type { Clock, Digest, DigestName, Digests, Platform, Random } from './ports/platform.ts'
export type {
  Address,
  Listener,
  PeerAddress,
  Socket,
  SocketEvents,
  SocketOptions,
  Transport,
  Verification,
} from './ports/socket.ts'
export type { FileSource, OpenSource } from './ports/source.ts'
export type {
  Checkpoint,
  Claim,
  Claimed,
  ClaimOptions,
  FileStore,
  NewTransfer,
  OnConflict,
  Owner,
  PartialFile,
  Storage,
  StoredFile,
  TransferRecord,
  TransferStore,
} from './ports/storage.ts'
export {
  assertTokenAllowed,
  type BoundToken,
  bindingOf,
  type GivenToken,
  type TokenBinding,
} from './runtime/tokenBinding.ts'
export { removeUnfinished, type UnfinishedUpload, unfinishedUploads } from './server/files/unfinished.ts'
export type { Member } from './server/messages/presenceList.ts'
export type { ServeOptions, Server, ServerEvents } from './server/server.ts'
export type { ReceivingUpload, ServerGauges, ServerStatus } from './server/status.ts'
export type { Frame } from './wire/frame.ts'

/** What this package calls itself in HELLO_REQ. */
const software = 'ospd-js'

/**
 * Opens the storage, takes up what a crash left, and listens. Resolves when clients can connect. Rejects with OspError
 * `usage`, `data-locked`, `data-format` or `unreachable` (the address can't be used); nothing is left open then.
 */
export async function serve(options: ServeOptions): Promise<Server> {
  checkServeOptions(options)
  const { platform = nodePlatform(), authenticator = loopbackOnly() } = options
  return await serveBound({ ...options, platform, authenticator })
}

/**
 * A client that the server has let in. Rejects as `Client.online` does, and, unless `retryForMs` is given, at the first
 * failure; nothing is left open then.
 */
export async function connect(options: ConnectOptions): Promise<Client> {
  checkConnectOptions('connect', options)
  return await connectBound(bound(options))
}

/**
 * A client, at once; it connects when it is first used. Throws OspError `usage` for an option that can't be, and
 * `bad-name` for a user that can't be one.
 */
export function createClient(options: ConnectOptions): Client {
  checkConnectOptions('createClient', options)
  return createBound(bound(options))
}

function bound(options: ConnectOptions): BoundOptions {
  return { ...options, platform: options.platform ?? nodePlatform(), software }
}
