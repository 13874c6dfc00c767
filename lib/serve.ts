// Apart from index.ts, so that the bundle of a client contains no adapter of a server.
import { loopbackOnly } from './adapters/auth/unverified.ts'
import { listenKind, listenTransport } from './adapters/net/serverUrl.ts'
import { nodePlatform } from './adapters/node/nodePlatform.ts'
import { checkOptions } from './options.ts'
import type { Storage } from './ports/storage.ts'
import { type ServeOptions, type Server, serveOptions, startServer } from './server/server.ts'

/**
 * Opens the storage, recovers after a crash, and listens. Resolves when clients can connect. Rejects with OspError `usage`,
 * `data-locked`, `data-format` or `unreachable` (the address cannot be used); nothing is left open then.
 */
export async function serve(options: ServeOptions): Promise<Server> {
  checkOptions('serve', { listen: listenKind, ...serveOptions }, options)
  const { platform = nodePlatform(), authenticator = loopbackOnly() } = options
  const listen = listenTransport('serve', options.listen)
  const storage = typeof options.storage === 'string' ? await diskAt(options.storage) : options.storage
  return await startServer({ ...options, listen, storage, platform, authenticator })
}

/** Loads the storage in a directory only if it is used. */
async function diskAt(directory: string): Promise<Storage> {
  const { disk } = await import('./adapters/disk/disk.ts')
  return disk(directory)
}
