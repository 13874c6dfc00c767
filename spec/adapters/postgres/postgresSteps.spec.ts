import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { postgresSteps } from '../../../lib/adapters/postgres/postgresSteps.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { spec } from '../../support/spec.ts'
import { emptyStore } from './stores.ts'

/** Starts a server that asks each client for a password with SCRAM-SHA-256. */
async function scramServer() {
  const request = (kind: number, text: string) => {
    const data = Buffer.from(text)
    const head = Buffer.alloc(9)
    head.write('R')
    head.writeInt32BE(8 + data.length, 1)
    head.writeInt32BE(kind, 5)
    return Buffer.concat([head, data])
  }
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('data', () => {
      socket.write(request(10, 'SCRAM-SHA-256\0\0'))
      socket.once('data', (response) => {
        const nonce = /r=([^,]+)/u.exec(response.toString())?.[1]
        socket.write(request(11, `r=${nonce}server,s=c2FsdA==,i=4096`))
      })
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const close = async () => {
    // The client does not close a connection that was refused.
    for (const socket of sockets) socket.destroy()
    await once(server.close(), 'close')
  }
  return { port, [Symbol.asyncDispose]: close }
}

spec('the steps of a shared store in PostgreSQL', (it) => {
  it('are not opened if the database cannot be reached', async () => {
    // No server listens on port 1.
    await using steps = postgresSteps({ url: 'postgres://ospd@127.0.0.1:1/ospd' })
    await assert.rejects(steps.open(), { code: 'unreachable', message: /cannot be reached at 127\.0\.0\.1:1\/ospd: /u })
  })

  it('are not opened without the password that the database requires', async () => {
    await using server = await scramServer()
    await using steps = postgresSteps({ url: `postgres://ospd@127.0.0.1:${server.port}/ospd` })
    const message = `the database of the cluster at 127.0.0.1:${server.port}/ospd requires a password; add one to its URL`
    await assert.rejects(steps.open(), { code: 'unauthorized', message })
  })

  if (databaseMissing !== undefined) return it.skip('are refused once they are closed', databaseMissing)

  it('remove the records of earlier versions of a file an hour after they were stored', async () => {
    await using store = await emptyStore()
    const { files } = await store.connect()
    const file = { user: 'alice', name: 'a', size: 1, algorithm: 'md5', digest: 'ab', metadata: {} } as const
    const [old, present] = [
      { ...file, version: 'old' },
      { ...file, version: 'present' },
    ]
    await files.put([old, present, { ...old, name: 'b' }])
    await store.sql("UPDATE ospd.file SET recorded_at = clock_timestamp() - interval '61 minutes'")
    await files.prune('alice', 'a', 'present')
    assert.deepEqual(await files.page(undefined, 9), [present, { ...old, name: 'b' }])
    await files.prune('alice', 'b')
    assert.deepEqual(await files.page(undefined, 9), [present])
  })

  it('are not opened if the database refuses TLS or does not know the user', async () => {
    await using store = await emptyStore()
    const url = new URL(store.url)
    url.searchParams.set('sslmode', 'require')
    await using encrypted = postgresSteps({ url: url.href })
    await assert.rejects(encrypted.open(), { code: 'unreachable', message: /: The server does not support SSL/u })
    url.search = ''
    url.username = 'nobody_of_this_name'
    await using stranger = postgresSteps({ url: url.href })
    await assert.rejects(stranger.open(), {
      code: 'unauthorized',
      message: /has rejected the login: role .* does not exist/u,
    })
  })

  it('are refused once they are closed', async () => {
    await using store = await emptyStore()
    const steps = postgresSteps({ url: store.url })
    await assert.rejects(steps.servers(), { code: 'closed' })
    await steps.open()
    assert.deepEqual(await steps.servers(), [])
    await steps[Symbol.asyncDispose]()
    await steps[Symbol.asyncDispose]()
    await assert.rejects(steps.servers(), { code: 'closed' })
  })
})
