/** What Node gives: TCP, a directory as storage, files as sources, a control socket. */
export {
  type AskOptions,
  askControl,
  type ControlOptions,
  type ControlSocket,
  type HandleControl,
  serveControl,
} from './adapters/controlSocket.ts'
export { disk } from './adapters/disk/disk.ts'
export { type FileOptions, file } from './adapters/fileSource.ts'
export { nodePlatform } from './adapters/nodePlatform.ts'
export { stateDirectory } from './adapters/stateDirectory.ts'
export { type TcpOptions, tcp } from './adapters/tcp.ts'
