import assert from 'node:assert/strict'
import fc from 'fast-check'
import { dialTransport, listenTransport, parseAddress } from '../../../lib/adapters/net/serverUrl.ts'
import { connect, createClient, type OspError, serve } from '../../../lib/index.ts'
import { memory, memoryTransport } from '../../../lib/memory.ts'
import { nodePlatform, ownIdentity, tcp, tls } from '../../../lib/node.ts'
import { place } from '../../support/commands.ts'
import { selfSigned } from '../../support/selfSigned.ts'
import { spec } from '../../support/spec.ts'

const messageOf = (call: () => unknown): string => {
  try {
    call()
  } catch (error) {
    assert.equal((error as OspError).code, 'usage')
    return (error as OspError).message
  }
  return assert.fail('it was accepted')
}

spec('the address of a server', (it) => {
  it('has a host without brackets, and a port if one is specified', () => {
    assert.deepEqual(parseAddress('files.example'), { host: 'files.example', port: undefined })
    assert.deepEqual(parseAddress('[::1]:0'), { host: '::1', port: 0 })
    assert.deepEqual(parseAddress('[fe80::1%eth0]:7'), { host: 'fe80::1%eth0', port: 7 })
    for (const text of ['', ':1', '::1', 'a:65536', 'a:-1', 'a:1e3', 'a b', 'a/b', '[a', 'a:', '[::1]1'])
      assert.equal(parseAddress(text), undefined, text)
  })
})

spec('the URL of a server', (it) => {
  it('connects to it over TCP, even with an IPv6 address, as text or as a URL', async () => {
    await using server = await serve({ listen: 'ospd://[::1]:0', storage: memory() })
    const { host, port } = server.addresses[0] ?? assert.fail()
    assert.equal(host, '::1')
    for (const to of [`ospd://[::1]:${port}`, `OSPD://[::1]:${port}/`, new URL(`ospd://[::1]:${port}`)]) {
      await using client = await connect(to, { user: 'alice' })
      assert.equal(client.status, 'online')
    }
  })

  it('connects to port 6682 by default', async () => {
    const dial = dialTransport('connect', 'ospd://192.0.2.1').dial(
      { platform: nodePlatform(), maxPayload: 0 },
      AbortSignal.abort(),
    )
    await assert.rejects(dial, { code: 'closed' })
    const unreachable = dialTransport('connect', 'ospd://none.invalid').dial(
      { platform: nodePlatform(), maxPayload: 0 },
      new AbortController().signal,
    )
    await assert.rejects(unreachable, { code: 'unreachable', message: /none\.invalid:6682/u })
  })

  it('with the scheme ospds connects to it over TLS, which requires a trusted certificate', async () => {
    await using server = await serve({ listen: tls({ port: 0, ...selfSigned() }), storage: memory() })
    const port = server.addresses[0]?.port
    await assert.rejects(connect(`ospds://localhost:${port}`, { user: 'alice' }), { code: 'unauthorized' })
  })

  const wrong: readonly (readonly [url: string, message: RegExp])[] = [
    ['http://host:1', /^connect: "http:\/\/host:1" is not valid: its scheme must be ospd, or ospds for TLS$/u],
    ['host:6682', /: write ospd:\/\/host:6682, or ospds:\/\/host:6682 for TLS$/u],
    ['host', /: write ospd:\/\/host, or/u],
    ['./data', /: it must begin with ospd:\/\/ or ospds:\/\/$/u],
    ['ospd:host', /: it must begin with ospd:\/\/ or ospds:\/\/$/u],
    ['', /: it must begin with/u],
    ['ospd://', /: the host is missing$/u],
    ['ospd://:7', /: the host is missing$/u],
    ['ospd://host/files', /: remove \/files after the host and the port$/u],
    ['ospd://host//', /: remove \/\/ after the host/u],
    ['ospd://host:7/?a=b', /: remove \/\?a=b after the host/u],
    ['ospd://host#a', /: remove #a after the host/u],
    ['ospd://host:', /: the port is missing after the colon$/u],
    ['ospd://host:65536', /: the port 65536 is above 65535$/u],
    ['ospd://host:x', /: the port x is not a number$/u],
    ['ospd://host:0', /: a server cannot have port 0$/u],
    ['ospd://::1', /: an IPv6 address must be in brackets, such as \[::1\]:6682$/u],
    ['ospd://[::1', /: write ospd:\/\/HOST:PORT, with an IPv6 address in brackets$/u],
    ['ospd://a b', /: write ospd:\/\/HOST:PORT, with/u],
    ['ospd://alice:secret@host', /^connect: the URL is not valid: it contains a user name or a password; pass the/u],
  ]
  for (const [url, message] of wrong) {
    it(`is not ${JSON.stringify(url)}`, () => {
      const text = messageOf(() => dialTransport('connect', url))
      assert.match(text, message)
      assert.ok(!text.includes('secret'), text)
    })
  }

  it('is valid, or a usage error with the reason, for any text', () => {
    const part = fc.oneof(fc.constantFrom('ospd://', 'ospds:', '//', '[::1]', ':6682', '@', '/', '?', '%'), fc.string())
    const text = fc.array(part, { maxLength: 5 }).map((parts) => parts.join(''))
    fc.assert(
      fc.property(text, (url) => {
        for (const make of [dialTransport, listenTransport]) {
          try {
            assert.equal(typeof make('f', url).dial, 'function')
          } catch (error) {
            assert.equal((error as OspError).code, 'usage', String(error))
            assert.match((error as OspError).message, /^f: .* is not valid: ./su)
          }
        }
      }),
    )
  })

  it('is checked before a client is created', async () => {
    assert.match(
      messageOf(() => createClient('ws://host', { user: 'alice' })),
      /^createClient: "ws:/u,
    )
    assert.match(
      messageOf(() => createClient(6682 as never, { user: 'alice' })),
      /must be a URL such as 'ospd:\/\/host:6682', or a transport, .*, not 6682; write 'ospd:\/\/localhost:6682'$/u,
    )
    await assert.rejects(connect('ospd://host/x', { user: 'alice' }), { code: 'usage', message: /^connect: / })
  })
})

spec('a server listens', (it) => {
  it('on a port of the loopback interface, and stores files in a directory', async () => {
    await using at = await place()
    await using server = await serve({ listen: 0, storage: at.path })
    const { host, port } = server.addresses[0] ?? assert.fail()
    assert.equal(host, '127.0.0.1')
    await using client = await connect(`ospd://127.0.0.1:${port}`, { user: 'alice' })
    assert.equal(client.status, 'online')
  })

  it('at a URL or on a transport', async () => {
    await using byUrl = await serve({ listen: new URL('ospd://127.0.0.1:0'), storage: memory() })
    assert.ok((byUrl.addresses[0]?.port ?? 0) > 0)
    const transport = memoryTransport()
    assert.equal(listenTransport('serve', transport), transport)
    await using byTransport = await serve({ listen: tcp({ port: 0 }), storage: memory() })
    assert.ok((byTransport.addresses[0]?.port ?? 0) > 0)
  })

  it('over TLS with the option tls, at a port or an ospds:// URL', async () => {
    await using at = await place()
    const storage = `${at.path}/data`
    for (const listen of [0, 'ospds://127.0.0.1:0'] as const) {
      await using server = await serve({ listen, storage, tls: 'auto' })
      const { port = 0 } = server.addresses[0] ?? {}
      const trust = async () => {}
      await using client = await connect(tls({ port, trust }), { user: 'alice' })
      assert.equal(client.status, 'online')
      await assert.rejects(connect(`ospd://127.0.0.1:${port}`, { user: 'alice' }))
    }
    const identity = await ownIdentity(`${storage}/tls`)
    await using server = await serve({ listen: 'ospds://127.0.0.1:0', storage: memory(), tls: identity })
    assert.ok((server.addresses[0]?.port ?? 0) > 0)
    for (const [options, message] of [
      [{ listen: 'ospd://127.0.0.1:0', tls: identity }, /with the option tls it must begin with ospds/u],
      [{ listen: tcp({ port: 0 }), tls: identity }, /the option tls requires a port or a URL/u],
      [{ listen: 0, tls: 'auto' }, /pass storage as a path/u],
      [{ listen: 0, tls: {} as never }, /the option tls must be 'auto', or an object such as/u],
    ] as const)
      await assert.rejects(serve({ ...options, storage: memory() }), { code: 'usage', message })
  })

  it('at no other value, and says what it takes', async () => {
    assert.match(
      messageOf(() => listenTransport('serve', 'ospds://0.0.0.0')),
      /^serve: "ospds:.*: a TLS server requires the option tls, such as \{ cert, key \} or 'auto'$/u,
    )
    for (const listen of [65_536, -1, 1.5, 'localhost', './socket'] as const)
      await assert.rejects(serve({ listen, storage: memory() }), { code: 'usage', message: /^serve: / }, `${listen}`)
    await assert.rejects(serve({ listen: 0, storage: '' }), { code: 'usage', message: /storage must be the path/u })
  })
})
