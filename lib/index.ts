/** Server, client, errors and types, bound to Node. The adapters are in `ospd/node` and `ospd/memory`. */
import { dialTransport, serverKind } from './adapters/net/serverUrl.ts'
import { hookWarnings } from './adapters/node/hookWarnings.ts'
import { nodePlatform } from './adapters/node/nodePlatform.ts'
import type { BoundClientOptions, Client, ConnectOptions } from './client/client.ts'
import { connectOptions } from './client/options.ts'
import { connectClient, RunningClient } from './client/runningClient.ts'
import { checkArgument, checkOptions } from './options.ts'
import type { LocalFiles } from './ports/localFiles.ts'
import type { Transport } from './ports/socket.ts'

export type { Client, ClientEvents, ClientGauges, ConnectOptions, RefusedMessage } from './client/client.ts'
export type { ClientStatus } from './client/connection/session.ts'
export type { Download, DownloadEvents, DownloadPhase, DownloadProgress } from './client/files/download.ts'
export type { FileInfo, FileReference } from './client/files/fileRequests.ts'
export type {
  DownloadOptions,
  Files,
  ListFilesOptions,
  RemoveFileOptions,
  RenameFileOptions,
  StatFileOptions,
} from './client/files/files.ts'
export type { DeviceInfo, Devices } from './client/messages/devices.ts'
export type {
  ListMessagesOptions,
  Message,
  MessageHandler,
  MessagesOptions,
  NakOptions,
  ReceiveOptions,
  Receiver,
  RecipientState,
  SendOptions,
  SignalOptions,
  WaitingMessage,
  WaitingMessages,
} from './client/messages/message.ts'
export type { MessageReceipt } from './client/messages/messageReceipts.ts'
export type { Presence, PresenceEvents } from './client/messages/presence.ts'
export type { SentMessage } from './client/messages/sentMessage.ts'
export type { TaskReason, TaskStatus } from './client/uploads/taskStatus.ts'
export type { Progress, Upload, UploadEvents, UploadPhase } from './client/uploads/upload.ts'
export type { UploadOptions, Uploads, UploadsEvents } from './client/uploads/uploadList.ts'
export type { ByteStream, Bytes, UploadSource } from './client/uploads/uploadSource.ts'
export { checkMetadata, type MetadataText } from './core/metadata.ts'
export { connectionErrors, type ErrorCode, type ErrorDetails, errors, OspError, type Retry } from './errors.ts'
export { defaultLimits, type Limit, type Limits, limitTable } from './limits.ts'
export { checkDeviceName, checkFileName, checkUserName, isFileName, isUserName, nameKey } from './names.ts'
export { nearestName } from './options.ts'
export type * from './ports/authenticator.ts'
export type * from './ports/clientState.ts'
export type * from './ports/links.ts'
export type * from './ports/listenable.ts'
export type * from './ports/log.ts'
export type * from './ports/mailboxes.ts'
export type * from './ports/platform.ts'
export type * from './ports/presence.ts'
export type * from './ports/socket.ts'
export type * from './ports/source.ts'
export type * from './ports/storage.ts'
export type * from './ports/target.ts'
export type { MessageOptions } from './runtime/newMessage.ts'
export type { BoundToken, GivenToken, TokenBinding } from './runtime/tokenBinding.ts'
export { assertTokenAllowed, bindingOf } from './runtime/tokenBinding.ts'
export { serve } from './serve.ts'
export type { NotifyRule } from './server/files/fileNotices.ts'
export type {
  HandledFile,
  HandledHow,
  SetAsideFile,
  SetAsideFiles,
  StoredFileHandler,
} from './server/files/storedHandler.ts'
export { removeUnfinished, type UnfinishedUpload, unfinishedUploads } from './server/files/unfinishedUploads.ts'
export type {
  ArrivingUpload,
  UploadChanges,
  UploadDecision,
  UploadHook,
  UploadRefusal,
} from './server/files/uploadHook.ts'
export type { ServeOptions, Server, ServerEvents, ServerTls } from './server/server.ts'
export type { ReceivingUpload, ServerGauges, ServerStatus } from './server/status.ts'
export type { Frame } from './wire/frame.ts'

/**
 * Resolves with a client that a server has accepted. `to` is the URL of the server, such as `ospd://host:6682`, or `ospds://host`
 * for TLS with a certificate from an authority that Node trusts; or a transport. `state` can be the path of a state directory.
 * Rejects as `Client.online`; at once without `retryForMs`.
 */
export async function connect(
  to: string | URL | Transport,
  options: Omit<ConnectOptions, 'state'> & { readonly state?: string | ConnectOptions['state'] },
): Promise<Client> {
  const { state } = options ?? {}
  // The check rejects an empty path.
  if (typeof state !== 'string' || state === '')
    return await connectClient(bound('connect', to, options as ConnectOptions))
  const { stateDirectory } = await import('./adapters/stateDirectory/stateDirectory.ts')
  return await connectClient(bound('connect', to, { ...options, state: stateDirectory(state) }))
}

/** As `connect`, but returns a client that connects when it is first used. Throws OspError `usage`, or `bad-name` for the user. */
export function createClient(to: string | URL | Transport, options: ConnectOptions): Client {
  return new RunningClient(bound('createClient', to, options))
}

function bound(where: string, to: string | URL | Transport, options: ConnectOptions): BoundClientOptions {
  checkArgument(where, 'the server', serverKind, to)
  checkOptions(where, connectOptions, options)
  const { platform = nodePlatform(), log = hookWarnings() } = options
  return { ...options, to: dialTransport(where, to), platform, log, software: 'ospd-js', localFiles }
}

/** Loads the access to the file system on first use: a bundled client does not load it at startup. */
const localFiles: LocalFiles = {
  source: async (...args) => (await loadFiles()).source(...args),
  target: async (...args) => (await loadFiles()).target(...args),
  spool: async (...args) => (await loadFiles()).spool(...args),
}

async function loadFiles(): Promise<LocalFiles> {
  return (await import('./adapters/node/localFiles.ts')).localFiles
}
