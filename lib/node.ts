/** The adapters for Node: TCP, TLS, disk storage, files, authenticators, control socket and shared state directory. */

import { directoryControl } from './adapters/controlSocket/controlSocket.ts'
import { file } from './adapters/node/fileSource.ts'
import { nodePlatform } from './adapters/node/nodePlatform.ts'
import { sweepSpool, wantedRefs } from './adapters/stateDirectory/spool.ts'
import { stateDirectory } from './adapters/stateDirectory/stateDirectory.ts'
import type { Client } from './client/client.ts'
import { type OutboxControl, outboxController } from './client/messages/outboxController.ts'
import type { JoinedTasks } from './client/tasks/remoteTasks.ts'
import { joinOrServe, type ServedTasks } from './client/tasks/serveTasks.ts'
import { type TaskControl, type TaskControlOptions, taskController } from './client/tasks/taskController.ts'
import { checkArgument, checkOptions, having, kinds, optional } from './options.ts'

export { type CertificateNamesOptions, certificateNames } from './adapters/auth/certificateNames.ts'
export { type KnownServer, type KnownServersOptions, knownServer, knownServers } from './adapters/auth/knownServers.ts'
export { rememberNames } from './adapters/auth/rememberNames.ts'
export { allowAll, loopbackOnly } from './adapters/auth/unverified.ts'
export type { UserChange, UsersNews } from './adapters/auth/usersFile/seen.ts'
export type { AddUserOptions, KnownUser, UsersFile, UsersFileOptions } from './adapters/auth/usersFile.ts'
export { usersFile } from './adapters/auth/usersFile.ts'
export {
  type AskOptions,
  askControl,
  type ControlOptions,
  serveControl,
} from './adapters/controlSocket/controlSocket.ts'
export { disk } from './adapters/disk/disk.ts'
export { pathReason } from './adapters/disk/faults.ts'
export { lockDirectory, lockHolder } from './adapters/disk/lock.ts'
export { checkNamedFile } from './adapters/disk/rights.ts'
export {
  type HealthOptions,
  type HealthServer,
  serveHealth,
} from './adapters/health/healthServer.ts'
export { Readiness, type ReadinessCheck } from './adapters/health/readiness.ts'
export { hostKeyOf } from './adapters/net/addresses.ts'
export { isNetwork } from './adapters/net/proxy/networks.ts'
export { addressFault, parseAddress, serverPort } from './adapters/net/serverUrl.ts'
export { type TcpOptions, tcp } from './adapters/net/tcp.ts'
export type { SeenServer, TrustServer } from './adapters/net/tls/dialling.ts'
export { fingerprintOf, type Pem, type ServerIdentity, type TlsIdentity } from './adapters/net/tls/identity.ts'
export { ownIdentity } from './adapters/net/tls/ownIdentity.ts'
export { type TlsOptions, type TlsTransport, tls } from './adapters/net/tls.ts'
export { type FileOptions, file } from './adapters/node/fileSource.ts'
export { type FileTargetOptions, fileTarget } from './adapters/node/fileTarget.ts'
export { nodePlatform } from './adapters/node/nodePlatform.ts'
export { absolutePath, pathBytes, pathText } from './adapters/node/pathText.ts'
export { type Context, type Contexts, type KeptContexts, keptContexts } from './adapters/stateDirectory/contexts.ts'
export { type KeptReferences, keptReferences } from './adapters/stateDirectory/keptReferences.ts'
export { isSpooled, spool } from './adapters/stateDirectory/spool.ts'
export { stateDirectory } from './adapters/stateDirectory/stateDirectory.ts'
export { checkToken, type KeptToken, keptToken, readToken } from './adapters/stateDirectory/token.ts'
export type { OutboxControl, OutboxMessage } from './client/messages/outboxController.ts'
export type { JoinedTasks } from './client/tasks/remoteTasks.ts'
export type { ServedTasks } from './client/tasks/serveTasks.ts'
export type {
  Added,
  CancelledTask,
  NewTask,
  TaskControl,
  TaskControlOptions,
  TaskOperations,
} from './client/tasks/taskController.ts'
export type { Answering as HandleControl, Served as ControlSocket } from './ports/control.ts'
export { EarlierFiles } from './runtime/earlierFiles.ts'
export { uploadPartOf } from './runtime/messageId.ts'

/**
 * Serves the tasks of a state directory with this client, so that other programs can control them; or, if
 * another program serves them, joins that program. Call it before the client is used, with the state of that directory.
 * Removes spooled files without a task. Rejects with OspError `data-locked` if neither is possible for long.
 */
export async function openTasks(client: Client, directory: string): Promise<ServedTasks | JoinedTasks> {
  checkArgument('openTasks', 'the first argument', having('a client', 'upload', 'online'), client)
  checkArgument('openTasks', 'the directory', kinds.path, directory)
  const { clock } = nodePlatform()
  const opened = await joinOrServe({ client, clock, reopen: (ref) => file(ref) }, directoryControl(directory))
  if (opened.joined) return opened
  try {
    await sweepSpool(directory, wantedRefs(await client.uploads.tasks()))
    return opened
  } catch (error) {
    await opened.close()
    throw error
  }
}

/** Controls the tasks of a state directory: by the program that serves them, or in the stored list. */
export function taskControl(directory: string, options: TaskControlOptions = {}): TaskControl {
  checkArgument('taskControl', 'the directory', kinds.path, directory)
  checkOptions('taskControl', { client: optional(kinds.function), log: optional(kinds.function) }, options)
  const control = directoryControl(directory)
  return taskController(control, nodePlatform(), () => stateDirectory(directory).tasks, options)
}

/** Controls the outbox of a state directory: by the program that sends its messages, or in the stored outbox. */
export function outboxControl(directory: string): OutboxControl {
  checkArgument('outboxControl', 'the directory', kinds.path, directory)
  return outboxController(stateDirectory(directory).outbox, nodePlatform().clock)
}
