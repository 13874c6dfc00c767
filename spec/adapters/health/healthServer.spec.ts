import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type HealthServer, healthBounds, serveHealth } from '../../../lib/adapters/health/healthServer.ts'
import { Readiness } from '../../../lib/adapters/health/readiness.ts'
import { spec } from '../../support/spec.ts'

interface Stage {
  readonly readiness: Readiness
  readonly health: HealthServer
  raw(): Promise<Socket>
}

async function withHealth(use: (stage: Stage) => Promise<void>, options: { requestMs?: number } = {}): Promise<void> {
  const readiness = new Readiness()
  await using health = await serveHealth({ port: 0, readiness, requestMs: 3_600_000, ...options })
  const sockets: Socket[] = []
  const raw = async () => {
    const socket = connect(health.address.port, '127.0.0.1')
    sockets.push(socket.on('error', () => {}))
    await once(socket, 'connect')
    return socket
  }
  try {
    await use({ readiness, health, raw })
  } finally {
    for (const socket of sockets) socket.destroy()
  }
}

/** Resolves with the whole response to these bytes, after the connection was closed. */
async function answerTo(raw: Socket, bytes: string): Promise<string> {
  raw.write(bytes)
  return Buffer.concat(await raw.toArray()).toString()
}

const get = ({ address }: HealthServer, path: string, method = 'GET') =>
  fetch(`http://127.0.0.1:${address.port}${path}`, { method })

const closed = (raw: Socket) =>
  new Promise<void>((resolve) => {
    if (raw.closed) resolve()
    else raw.resume().once('close', () => resolve())
  })

spec('the health port', (it) => {
  it('answers /live and /ready with 200 while all checks pass', () =>
    withHealth(async ({ health, readiness }) => {
      readiness.add('starting', () => undefined)
      for (const [path, body] of [
        ['/live', { live: true }],
        ['/ready', { ready: true }],
        ['/ready?from=balancer', { ready: true }],
      ] as const) {
        const answer = await get(health, path)
        assert.deepEqual([answer.status, await answer.json()], [200, body])
        assert.equal(answer.headers.get('content-type'), 'application/json')
        assert.equal(answer.headers.get('cache-control'), 'no-store')
      }
    }))

  it('answers /ready with 503 and the reasons of failed checks, and /live with 200', () =>
    withHealth(async ({ health, readiness }) => {
      const reasons = { draining: 'the daemon is shutting down', lease: 'it is over' }
      for (const [name, reason] of Object.entries(reasons)) readiness.add(name, () => reason)
      const answer = await get(health, '/ready')
      assert.deepEqual([answer.status, await answer.json()], [503, { ready: false, reasons }])
      assert.equal((await get(health, '/live')).status, 200)
    }))

  it('answers HEAD as GET, without a body', () =>
    withHealth(async ({ health, readiness }) => {
      readiness.add('draining', () => 'x')
      const answer = await get(health, '/ready', 'HEAD')
      assert.deepEqual([answer.status, await answer.text()], [503, ''])
      assert.equal((await get(health, '/live', 'HEAD')).status, 200)
    }))

  it('answers other paths with 404, and other methods with 405', () =>
    withHealth(async ({ health }) => {
      for (const path of ['/', '/live/', '/LIVE', '/metrics', '//live'])
        assert.equal((await get(health, path)).status, 404)
      const answer = await get(health, '/ready', 'POST')
      assert.deepEqual([answer.status, answer.headers.get('allow')], [405, 'GET, HEAD'])
    }))

  it('closes a connection after one response', () =>
    withHealth(async ({ raw }) => {
      const request = 'GET /live HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n'
      const text = await answerTo(await raw(), request + request)
      assert.equal(text.match(/HTTP\/1\.1 200 OK/gu)?.length, 1)
      assert.match(text, /^connection: close\r$/mu)
    }))

  it('refuses requests that are not HTTP, and long headers', () =>
    withHealth(async ({ raw }) => {
      assert.match(await answerTo(await raw(), 'x\r\n\r\n'), /^HTTP\/1\.1 400 /u)
      const long = `GET /live HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(healthBounds.headerBytes)}\r\n\r\n`
      assert.match(await answerTo(await raw(), long), /^HTTP\/1\.1 431 /u)
    }))

  for (const [what, bytes] of [
    ['is silent', ''],
    ['sends a part of a header', 'GET /live HTTP/1.1\r\n'],
    ['sends a header without its body', 'GET /other HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n'],
  ] as const) {
    it(`closes a connection that ${what} after the time limit`, () =>
      withHealth(
        async ({ raw }) => {
          const socket = await raw()
          if (bytes) socket.write(bytes)
          await closed(socket)
        },
        { requestMs: 1 },
      ))
  }

  it('replaces the oldest connection if there are too many', () =>
    withHealth(async ({ health, raw }) => {
      const silent: Socket[] = []
      for (let at = 0; at < healthBounds.connections; at++) silent.push(await raw())
      assert.equal((await get(health, '/live')).status, 200)
      await closed(silent[0] as Socket)
      assert.equal((await get(health, '/live')).status, 200)
      assert.equal(silent.filter((socket) => !socket.destroyed).length, healthBounds.connections - 1)
    }))

  it('closes with its connections', () =>
    withHealth(async ({ health, raw }) => {
      const silent = await raw()
      await Promise.all([health.close(), health.close()])
      await closed(silent)
      await assert.rejects(get(health, '/live'))
      await health.close()
    }))

  it('reports an address that cannot be used, and invalid options', () =>
    withHealth(async ({ health, readiness }) => {
      const { port } = health.address
      await assert.rejects(serveHealth({ port, readiness }), {
        code: 'unreachable',
        message: /^cannot listen on 127\.0\.0\.1:\d+: another program already listens there/u,
      })
      await assert.rejects(serveHealth({ port: -1, readiness }), { code: 'usage' })
    }))
})
