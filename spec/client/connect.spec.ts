import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { memoryTransport } from '../../lib/adapters/memory/memoryTransport.ts'
import type { ConnectOptions } from '../../lib/client/client.ts'
import { connectClient } from '../../lib/client/runningClient.ts'
import { connect, createClient, type OspError } from '../../lib/index.ts'
import { clientLimits } from '../../lib/limits.ts'
import { nodePlatform } from '../../lib/node.ts'
import type { Transport } from '../../lib/ports/socket.ts'
import { unlessAborted } from '../../lib/runtime/wait.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { ScriptedServer } from '../support/scriptedServer.ts'
import { spec } from '../support/spec.ts'
import { until } from '../support/until.ts'
import { UploadRig } from '../support/uploadRig.ts'
import { VirtualClock } from '../support/virtualClock.ts'

const to = memoryTransport()

spec('an option of a client', (it) => {
  const wrong: readonly [string, unknown][] = [
    ['limitRate', 0],
    ['limitRate', -1],
    ['limitRate', '2M'],
    ['uploadsAtOnce', 0],
    ['uploadsAtOnce', 1.5],
    ['retryForMs', Number.NaN],
    ['retryForMs', -1],
    ['user', 7],
    ['token', 'secret'],
    ['allowPlaintext', 'yes'],
    ['signal', {}],
  ]
  for (const [name, value] of wrong) {
    it(`${name} must not be ${String(value)}, and the error names it`, () => {
      const options = { user: 'alice', [name]: value } as ConnectOptions
      assert.throws(() => createClient(to, options), {
        code: 'usage',
        message: new RegExp(`^createClient: the option ${name} must be .*, not `, 'u'),
      })
    })
  }

  it('that is undefined has its default', async () => {
    await using rig = await UploadRig.start()
    const none = undefined
    const chosen = { token: none, retryForMs: none, uploadsAtOnce: none, limitRate: none, log: none, platform: none }
    await using client = await connect(rig.transport, { user: 'alice', ...chosen, signal: none })
    const upload = await client.upload(memorySource('a', patterned(9)), { name: none, digest: none })
    assert.equal((await upload.done).algorithm, 'sha256')
  })
})

spec('an upload', (it) => {
  it('cannot be added with an unknown digest or without a source', async () => {
    await using client = createClient(to, { user: 'alice' })
    const add = client.upload.bind(client)
    const source = memorySource('a', patterned(9))
    await assert.rejects(add(source, { digest: 'sha1' as 'md5' }), { code: 'usage', message: /digest .*md5, sha256/u })
    await assert.rejects(add(source, { name: 7 as never }), {
      code: 'usage',
      message: /^client\.upload: the option name must be a string, not 7$/u,
    })
    await assert.rejects(add(undefined as never), {
      code: 'usage',
      message: /^client\.upload: the source must be a path, .*, or a source, such as file\(path\), not undefined$/u,
    })
  })
})

spec('connect', (it) => {
  it('rejects at once without a server', async () => {
    await assert.rejects(connect(to, { user: 'alice' }), { code: 'unreachable' })
  })

  it('rejects with `closed` when its signal aborts, at once or while it waits', async () => {
    const nowhere: Transport = {
      ...to,
      dial: (_, signal) => unlessAborted(new Promise<never>(() => {}), signal),
    }
    for (const retryForMs of [undefined, 60_000]) {
      for (const signal of [AbortSignal.abort(), AbortSignal.timeout(20)])
        await assert.rejects(connect(nowhere, { user: 'alice', signal, retryForMs }), { code: 'closed' })
    }
  })

  it('of an existing client continues after a signal has aborted the wait', async () => {
    await using rig = await UploadRig.start()
    await using client = rig.client()
    await assert.rejects(client.online({ signal: AbortSignal.abort() }), { code: 'closed' })
    await client.online({ signal: new AbortController().signal })
    assert.equal(client.status, 'online')
    await assert.rejects(client.online({ singal: 5 } as never), { code: 'usage', message: /did you mean signal\?$/u })
  })

  it('waits for the server if `retryForMs` is given', async () => {
    await using rig = await UploadRig.start()
    await rig.server.close()
    const platform = { ...nodePlatform(), random: { ...nodePlatform().random, fraction: () => 0 } }
    const connecting = connectClient({
      to: rig.transport,
      user: 'alice',
      platform,
      software: 'spec',
      retryForMs: 5_000,
    })
    await rig.startServer()
    await using client = await connecting
    assert.equal(client.status, 'online')
  })

  it('resolves with a client that retries after a lost link', async () => {
    await using rig = await UploadRig.start()
    await using client = await connect(rig.transport, { user: 'alice' })
    rig.transport.cut()
    await until(client, 'status', () => client.status === 'waiting')
  })
})

spec('a token', (it) => {
  it('that never resolves does not delay closing', async () => {
    await using rig = await UploadRig.start()
    const client = rig.client({ token: () => new Promise(() => {}) })
    const online = assert.rejects(client.online(), { code: 'closed' })
    await new Promise((resolve) => setImmediate(resolve))
    await client.close()
    await online
    assert.equal(rig.transport.dialled, 0)
  })

  it('that does not resolve in the time for the handshake is tried again', async () => {
    const clock = new VirtualClock()
    await using rig = await UploadRig.start()
    let asked = 0
    const token = () => (++asked === 1 ? new Promise<string>(() => {}) : Promise.resolve(''))
    const client = rig.client({ token, platform: { ...nodePlatform(), clock } })
    const reasons: (string | undefined)[] = []
    client.on('status', (_, why) => reasons.push(why?.message))
    const online = client.online()
    await new Promise((resolve) => setImmediate(resolve))
    clock.pass(clientLimits.handshakeMs)
    await until(client, 'status', () => client.status === 'waiting')
    clock.pass(clientLimits.reconnectFirstMs)
    await online
    assert.ok(reasons.includes('the token function did not answer in time'))
  })

  it('whose function throws ends the client with the text of that error', async () => {
    await using rig = await UploadRig.start()
    const cause = new Error('the key ring is locked')
    const client = rig.client({ token: () => Promise.reject(cause) })
    await assert.rejects(client.online(), (error: OspError) => {
      assert.deepEqual([error.code, error.cause], ['unauthorized', cause])
      assert.equal(error.message, 'there is no token for the server: the key ring is locked')
      return true
    })
    assert.equal(client.status, 'refused')
  })

  it('is a string', async () => {
    await using rig = await UploadRig.start()
    const client = rig.client({ token: async () => undefined as never })
    await assert.rejects(client.online(), { code: 'unauthorized', message: /must be a string/u })
  })
})

spec('HELLO', (it) => {
  it('without an answer in time ends with a reset, so that it does not arrive late', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const online = client.online()
    while (server.links.length === 0) await server.pass(0)
    const [first] = server.links
    await server.pass(clientLimits.handshakeMs)
    assert.deepEqual([first?.socket.destroyed, first?.socket.last], [true, undefined])
    await server.pass(0)
    const [, second] = server.links
    assert.ok(second && !second.socket.destroyed)
    second.reply(await second.expect('HelloReq'), server.welcome)
    await online
  })

  it('carries a number that rises with each attempt, also after failed attempts', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    client.online().catch(() => {})
    while (server.links.length === 0) await server.pass(0)
    const attempts: (number | undefined)[] = []
    for (let at = 0; at < 3; at++) {
      const link = server.links[at]
      const hello = await link?.expect('HelloReq')
      attempts.push(hello?.message.attempt)
      if (at === 1) link?.break()
      else await server.pass(clientLimits.handshakeMs)
      await server.pass(0)
    }
    assert.deepEqual(attempts, [1, 2, 3])
  })
})

spec('a client whose link was replaced by its own later link', (it) => {
  it('reconnects and stays usable', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const online = client.online()
    const first = await server.link()
    await online
    first.goodbye('link-replaced')
    await until(client, 'status', () => client.status === 'waiting')
    const again = client.online()
    await server.link()
    await again
    assert.equal(client.status, 'online')
  })
})

spec('a signal', (it) => {
  it('closes the client, and is not referenced after the client was closed', async () => {
    const { signal } = new AbortController()
    const client = createClient(to, { user: 'alice', signal })
    assert.equal(getEventListeners(signal, 'abort').length, 1)
    await client.close()
    assert.equal(getEventListeners(signal, 'abort').length, 0)
    const closing = new AbortController()
    const other = createClient(to, { user: 'alice', signal: closing.signal })
    closing.abort()
    await other.closed
  })
})
