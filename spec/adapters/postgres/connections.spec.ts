import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import { postgresSteps } from '../../../lib/adapters/postgres/postgresSteps.ts'
import { clusterServers, withClusterUsers } from '../../../lib/postgres.ts'
import { authority } from '../../support/authority.ts'
import { place } from '../../support/commands.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { spec } from '../../support/spec.ts'
import { cuttingProxy } from './cuttingProxy.ts'
import { emptyStore } from './stores.ts'

/** The first message of a client that requests TLS. */
const tlsRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])

/** Starts a server that accepts only TLS, for the database of this URL. The certificate is for `localhost`. */
async function tlsServer(of: string, identity: { readonly cert: string; readonly key: string }) {
  const { hostname, port, pathname, username } = new URL(of)
  const sockets = new Set<Socket>()
  let encrypted = 0
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('data', (bytes) => {
      if (!tlsRequest.equals(bytes)) return socket.destroy()
      socket.write('S')
      const client = new TLSSocket(socket, { ...identity, isServer: true })
      client.on('secure', () => encrypted++)
      const upstream = connect(Number(port), hostname)
      for (const [from, to] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        sockets.add(from)
        from.on('error', () => to.destroy())
        from.on('close', () => to.destroy())
        from.pipe(to)
      }
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const own = (server.address() as AddressInfo).port
  return {
    /** Returns the URL at a host name, with parameters. */
    url: (host: string, parameters: Readonly<Record<string, string>>) =>
      `postgres://${username}@${host}:${own}${pathname}?${new URLSearchParams(parameters)}`,
    get encrypted() {
      return encrypted
    },
    async [Symbol.asyncDispose]() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** Opens and closes steps. */
async function opening(url: string): Promise<void> {
  await using steps = postgresSteps({ url, connections: 1, connectMs: 60_000 })
  await steps.open()
}

spec('the connection to a database', (it) => {
  if (databaseMissing !== undefined) return it.skip('can use TLS', databaseMissing)

  it('is encrypted with sslmode=verify-full, and refused if the server cannot prove its name', async () => {
    await using at = await place()
    await using store = await emptyStore()
    const root = authority('the root')
    await using server = await tlsServer(store.url, root.issue({ hosts: ['localhost'] }))
    const sslrootcert = join(at.path, await at.write('root.pem', root.cert))
    const sslmode = 'verify-full'
    await opening(server.url('localhost', { sslmode, sslrootcert }))
    assert.equal(server.encrypted, 1)
    const refused = (url: string, message: RegExp) => assert.rejects(opening(url), { code: 'unreachable', message })
    await refused(server.url('localhost', { sslmode }), /cannot be reached at localhost:.*certificate/u)
    await refused(server.url('127.0.0.1', { sslmode, sslrootcert }), /IP: 127\.0\.0\.1 is not in the cert/u)
    await refused(server.url('localhost', {}), /Connection terminated/u)
  })

  it('is refused with a URL that names a missing file, before anything is sent', async () => {
    const url = 'postgres://ospd@127.0.0.1:1/ospd?sslmode=verify-full&sslrootcert=/missing/root.pem'
    const message = /^the URL of the database of the cluster cannot be used: ENOENT: .* '\/missing\/root.pem'$/u
    await assert.rejects(opening(url), { code: 'usage', message })
  })

  it('is refused if the database does not exist', async () => {
    await using store = await emptyStore()
    const url = new URL(store.url)
    url.pathname = 'missing'
    const message = `the database of the cluster at ${url.host}/missing does not exist; create it first`
    await assert.rejects(opening(url.href), { code: 'unreachable', message })
  })

  it('is reported as lost if it ends while the servers are listed or a user is added', async () => {
    await using store = await emptyStore()
    await using proxy = await cuttingProxy(store.url)
    const lost = {
      code: 'unreachable',
      message: /^the database of the cluster cannot be reached at 127\.0\.0\.1:\d+\//,
    }
    proxy.cutAnswerTo('presence_version')
    await assert.rejects(clusterServers(proxy.url), lost)
    proxy.cutAnswerTo('user-set')
    await assert.rejects(
      withClusterUsers(proxy.url, (users) => users.add('alice')),
      lost,
    )
  })
})
