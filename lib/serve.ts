// Apart from index.ts, so that the bundle of a client contains no adapter of a server.
import { loopbackOnly } from './adapters/auth/unverified.ts'
import { listenKind, listenTransport, tlsKind } from './adapters/net/serverUrl.ts'
import type { ServerIdentity } from './adapters/net/tls/identity.ts'
import { hookWarnings } from './adapters/node/hookWarnings.ts'
import { nodePlatform } from './adapters/node/nodePlatform.ts'
import { OspError } from './errors.ts'
import { checkOptions } from './options.ts'
import type { Storage } from './ports/storage.ts'
import { type ServeOptions, type Server, type ServerTls, serveOptions, startServer } from './server/server.ts'

/**
 * Opens the storage, recovers after a crash, and listens. Resolves when clients can connect. Rejects with OspError `usage`,
 * `data-locked`, `data-format` or `unreachable` (the address cannot be used); nothing is left open then.
 */
export async function serve(options: ServeOptions): Promise<Server> {
  checkOptions('serve', { listen: listenKind, tls: tlsKind, ...serveOptions }, options)
  const { platform = nodePlatform(), authenticator = loopbackOnly(), log = hookWarnings(), tls } = options
  const listen = listenTransport('serve', options.listen, tls && identityOf(tls, options.storage))
  const storage = typeof options.storage === 'string' ? await diskAt(options.storage) : options.storage
  return await startServer({ ...options, listen, storage, platform, authenticator, log })
}

/** Returns a function that resolves with the certificate and the key of the server. */
function identityOf(tls: ServerTls, storage: ServeOptions['storage']): () => Promise<ServerIdentity> {
  if (tls !== 'auto') return async () => tls
  if (typeof storage !== 'string')
    throw new OspError('usage', "serve: tls 'auto' stores its key in the data directory; pass storage as a path")
  return async () => (await import('./adapters/net/tls/ownIdentity.ts')).ownIdentity(`${storage}/tls`)
}

/** Loads the storage in a directory only if it is used. */
async function diskAt(directory: string): Promise<Storage> {
  const { disk } = await import('./adapters/disk/disk.ts')
  return disk(directory)
}
