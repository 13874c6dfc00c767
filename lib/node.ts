/**
 * What Node gives: TCP and TLS, a directory as storage, files as sources, who may come in, a control socket, and for several
 * programs the tasks and the token of a state directory.
 */

import { directoryControl } from './adapters/directoryControl.ts'
import { file } from './adapters/fileSource.ts'
import { nodePlatform } from './adapters/nodePlatform.ts'
import { sweepSpool } from './adapters/stateDirectory/spool.ts'
import { stateDirectory } from './adapters/stateDirectory.ts'
import type { Client } from './client/client.ts'
import type { JoinedTasks } from './client/steering/joinTasks.ts'
import { openTasks as openBound } from './client/steering/openTasks.ts'
import type { ServedTasks } from './client/steering/serveTasks.ts'
import { Steering } from './client/steering/steerTasks.ts'
import type { TaskSteering } from './client/steering/taskSteering.ts'
import type { Uploads } from './client/uploads.ts'
import { checkArgument, checkOptions, having, kinds, optional } from './options.ts'
import type { Log } from './ports/log.ts'

export { anybody } from './adapters/anybody.ts'
export { type CertificateNamesOptions, certificateNames } from './adapters/certificateNames.ts'
export {
  type AskOptions,
  askControl,
  type ControlOptions,
  type ControlSocket,
  type HandleControl,
  serveControl,
} from './adapters/controlSocket.ts'
export { disk } from './adapters/disk/disk.ts'
export { pathReason } from './adapters/disk/faults.ts'
export { checkNamedFile } from './adapters/disk/rights.ts'
export { type FileOptions, file } from './adapters/fileSource.ts'
export { type KnownServer, type KnownServersOptions, knownServer, knownServers } from './adapters/knownServers.ts'
export { localOnly } from './adapters/localOnly.ts'
export { nodePlatform } from './adapters/nodePlatform.ts'
export { absolutePath, pathBytes, pathText } from './adapters/pathText.ts'
export { rememberNames } from './adapters/rememberNames.ts'
export { isSpooled, type Spooled, spool } from './adapters/stateDirectory/spool.ts'
export { type KeptToken, keptToken } from './adapters/stateDirectory/token.ts'
export { checkToken, readToken } from './adapters/stateDirectory/tokenText.ts'
export { stateDirectory } from './adapters/stateDirectory.ts'
export { type TcpOptions, tcp } from './adapters/tcp.ts'
export { fingerprintOf, type Pem, type ServerIdentity, type TlsIdentity } from './adapters/tls/identity.ts'
export { ownIdentity } from './adapters/tls/ownIdentity.ts'
export type { SeenServer, TrustServer } from './adapters/tls/seenServer.ts'
export { type TlsOptions, type TlsTransport, tls } from './adapters/tls.ts'
export type { UserChange, UsersNews } from './adapters/usersFile/seen.ts'
export {
  type AddUserOptions,
  type KnownUser,
  type UsersFile,
  type UsersFileOptions,
  usersFile,
} from './adapters/usersFile.ts'
export type { JoinedTasks } from './client/steering/joinTasks.ts'
export type { ServedTasks } from './client/steering/serveTasks.ts'
export type { Added, CancelledTask, NewTask, TaskSteering, TaskVerbs } from './client/steering/taskSteering.ts'

/**
 * Has the tasks of a state directory for the client with these uploads, and lets other programs steer them; or, where
 * another program has them, joins that one. Call it before the client is used, with the state of that directory. What was
 * spooled for no task is removed. Rejects with OspError `data-locked` where neither is possible for long.
 */
export async function openTasks(uploads: Uploads, directory: string): Promise<ServedTasks | JoinedTasks> {
  checkArgument('openTasks', 'the first argument', having('the uploads of a client', 'add', 'restore', 'on'), uploads)
  checkArgument('openTasks', 'the directory', kinds.path, directory)
  const { clock } = nodePlatform()
  const opened = await openBound({ uploads, clock, reopen: (ref) => file(ref) }, directoryControl(directory))
  if (opened.joined) return opened
  try {
    const tasks = await uploads.tasks()
    const wanted = tasks.filter(({ state }) => state !== 'done' && state !== 'cancelled')
    await sweepSpool(
      directory,
      wanted.flatMap(({ ref }) => ref ?? []),
    )
    return opened
  } catch (error) {
    await opened.close()
    throw error
  }
}

export interface SteerOptions {
  /** A client with the state of that directory, by which what is cancelled is removed at once if nobody sends. */
  readonly client?: (() => Client) | undefined
  readonly log?: Log | undefined
}

/** Steers the tasks of a state directory: by the program that has them, or in what is kept of them. */
export function steerTasks(directory: string, options: SteerOptions = {}): TaskSteering {
  checkArgument('steerTasks', 'the directory', kinds.path, directory)
  checkOptions('steerTasks', { client: optional(kinds.function), log: optional(kinds.function) }, options)
  const { clock } = nodePlatform()
  const control = directoryControl(directory)
  return new Steering({ control, clock, open: () => stateDirectory(directory).tasks, ...options })
}
export { hostKeyOf } from './adapters/unreachable.ts'
