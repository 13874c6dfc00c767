import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { bindingOf, createClient, type GivenToken, type Server, serve, type TokenBinding, type Transport } from 'ospd'
import { memory } from 'ospd/memory'
import { fingerprintOf, knownServers, type TlsIdentity, tcp, tls } from 'ospd/node'
import { authority } from '../support/authority.ts'
import { place, run } from '../support/commands.ts'
import { selfSigned } from '../support/selfSigned.ts'
import { spec } from '../support/spec.ts'

const token = 'osp_marked'
const root = authority()

/** An identity that the root has signed. */
const vouched = () => root.issue({ hosts: ['localhost'] })

/** An address at which servers listen, one after another, and the tokens that each receives. */
async function address() {
  const at = await place()
  await at.write('root.pem', root.cert)
  let server: Server | undefined
  let port = 0
  let received: string[] = []
  const state = join(at.path, 'state')
  return {
    at,
    list: join(state, 'known_servers'),
    get port() {
      return port
    },
    get tokenFile() {
      return join(state, `localhost_${port}`, 'alice', 'token')
    },
    /** Replaces the previous server by one with this identity, or without TLS. */
    async listen(identity?: TlsIdentity) {
      await server?.close()
      received = []
      server = await serve({
        listen: identity ? tls({ port, ...identity }) : tcp({ port }),
        storage: memory(),
        authenticator: {
          async authenticate({ user, token }) {
            received.push(token)
            return { user }
          },
          knows: async () => true,
        },
      })
      port = server.addresses[0]?.port ?? 0
    },
    /** The tokens that the latest server has received. */
    received: () => received,
    /** Runs `osp` on a system that trusts the root. */
    osp: (args: readonly string[], input = '', env: NodeJS.ProcessEnv = {}) => {
      const [command = '', ...more] = args
      const flags = ['--server', `localhost:${port}`, '--user', 'alice', '--state', state]
      return run('osp', [command, ...flags, ...more], {
        input,
        env: { NODE_EXTRA_CA_CERTS: join(at.path, 'root.pem'), ...env },
      })
    },
    async [Symbol.asyncDispose]() {
      await server?.close()
      await at[Symbol.asyncDispose]()
    },
  }
}

type At = Awaited<ReturnType<typeof address>>

/** Options of a client of the library on a system that trusts the root. */
const byTls = (at: At, more: { ca?: string } = { ca: root.cert }): Transport =>
  tls({ host: 'localhost', port: at.port, ...more, trust: knownServers(at.list) })

const byTcp = (at: At): Transport => tcp({ host: 'localhost', port: at.port })

/** Logs in with the library; resolves with the binding of the connection, or with the error. */
async function login(to: Transport, given: GivenToken = token): Promise<{ binding?: TokenBinding; text?: string }> {
  let binding: TokenBinding | undefined
  const watched: Transport = {
    ...to,
    async dial(options, signal) {
      const socket = await to.dial(options, signal)
      binding = bindingOf(socket)
      return socket
    },
  }
  await using client = createClient(watched, { user: 'alice', token: async () => given })
  try {
    await client.online()
    return { ...(binding !== undefined && { binding }) }
  } catch (error) {
    assert.equal((error as { code: string }).code, 'unauthorized')
    return { text: (error as Error).message }
  }
}

spec('a man in the middle of a client of the library', (it) => {
  it('obtains no token of a server with a CA certificate, and does not lock the client out of it', async () => {
    await using at = await address()
    await at.listen(vouched())
    assert.deepEqual(await login(byTls(at)), { binding: 'authority' })
    await at.listen(selfSigned())
    assert.match((await login(byTls(at))).text ?? '', /previously signed by a trusted authority/u)
    assert.deepEqual(at.received(), [])
    await at.listen(vouched())
    assert.deepEqual(await login(byTls(at)), { binding: 'authority' })
    assert.deepEqual(at.received(), [token])
  })

  it('obtains no bound token after the list of known servers is lost', async () => {
    await using at = await address()
    const own = selfSigned()
    for (const [identity, boundTo] of [
      [vouched(), 'authority'],
      [own, fingerprintOf(own.cert)],
    ] as const) {
      await at.listen(identity)
      await rm(at.list, { force: true })
      assert.deepEqual(await login(byTls(at)), { binding: boundTo })
      await rm(at.list)
      await at.listen(selfSigned())
      const bound = { token, boundTo: boundTo as TokenBinding }
      assert.match((await login(byTls(at), bound)).text ?? '', /the token was not sent .* known only by its key/u)
      assert.match((await login(byTcp(at), bound)).text ?? '', /not sent|requires TLS/u)
      await at.listen()
      assert.match((await login(byTcp(at), bound)).text ?? '', /the token was not sent .* is not verified/u)
      assert.deepEqual(at.received(), [])
      await rm(at.list)
      await at.listen(identity)
      assert.deepEqual(await login(byTls(at), bound), { binding: boundTo })
    }
  })

  it('that takes the place of the server between two connections of one client obtains nothing', async () => {
    await using at = await address()
    await at.listen(vouched())
    await using client = createClient(byTls(at), { user: 'alice', token: async () => token })
    await client.online()
    const refused = new Promise<string>((resolve) =>
      client.on('status', (status, why) => status === 'refused' && resolve(why?.message ?? '')),
    )
    await at.listen(selfSigned())
    assert.match(await refused, /previously signed by a trusted authority/u)
    assert.deepEqual(at.received(), [])
  })

  it('is refused by the program to which the CA vouches for the server, if two programs begin at the same time', async () => {
    await using at = await address()
    await at.listen(vouched())
    // The other program has just pinned the man in the middle.
    await mkdir(dirname(at.list), { recursive: true, mode: 0o700 })
    await writeFile(at.list, `localhost:${at.port} ${fingerprintOf(selfSigned().cert)}\n`)
    assert.match((await login(byTls(at))).text ?? '', /presents a different key than before/u)
    assert.deepEqual(at.received(), [])
  })
})

spec('a man in the middle of osp', (it) => {
  it('obtains no stored token, with or without TLS; the error names both servers and what to do', async () => {
    await using at = await address()
    await at.listen(vouched())
    assert.equal((await at.osp(['login', '--tls'], token)).code, 0)
    assert.equal(await readFile(at.tokenFile, 'utf8'), `${token}\nauthority\n`)
    const trap = selfSigned()
    await at.listen(trap)
    const refused = await at.osp(['who', '--tls'])
    assert.equal(refused.code, 4)
    const place = `localhost:${at.port}`
    for (const part of [
      place,
      'previously signed by a trusted authority',
      fingerprintOf(trap.cert),
      `remove line 2 of ${at.list}`,
    ]) {
      assert.ok(refused.stderr.includes(part), refused.stderr)
    }
    // As the error says, but with the key of the man in the middle.
    await writeFile(at.list, '')
    const bound = await at.osp(['who', '--tls', '--fingerprint', fingerprintOf(trap.cert)])
    assert.deepEqual([bound.code, /the token was not sent .*log in again/u.test(bound.stderr)], [4, true], bound.stderr)
    await at.listen()
    const plain = await at.osp(['who', '--no-tls'])
    assert.deepEqual([plain.code, /without TLS .* specify --tls/u.test(plain.stderr)], [4, true], plain.stderr)
    assert.deepEqual(at.received(), [])
    await writeFile(at.list, '')
    await at.listen(vouched())
    assert.deepEqual(await at.osp(['who', '--tls']), { code: 0, stdout: '', stderr: '' })
    assert.deepEqual(at.received(), [token])
  })

  it('obtains no token from a variable at the first connection, unless its key is named', async () => {
    await using at = await address()
    const trap = selfSigned()
    await at.listen(trap)
    const env = { OSP_TOKEN: token }
    const { code, stderr } = await at.osp(['who', '--tls'], '', env)
    assert.deepEqual([code, /is not known yet; no token was sent. .* --fingerprint SHA256/u.test(stderr)], [4, true])
    assert.deepEqual([at.received(), existsSync(at.list)], [[], false])
    const named = ['--fingerprint', fingerprintOf(trap.cert)]
    assert.deepEqual(await at.osp(['who', '--tls', ...named], '', env), { code: 0, stdout: '', stderr: '' })
    assert.deepEqual(at.received(), [token])
  })

  it('obtains no token from a variable, nor from osp login without TLS, after the server was verified', async () => {
    await using at = await address()
    await at.listen(vouched())
    const env = { OSP_TOKEN: token }
    assert.equal((await at.osp(['who', '--tls'], '', env)).code, 0)
    await at.listen(selfSigned())
    assert.equal((await at.osp(['who', '--tls'], '', env)).code, 4)
    const named = ['--fingerprint', `SHA256:${'A'.repeat(43)}`]
    assert.equal((await at.osp(['login', '--tls', ...named], token)).code, 4)
    await at.listen()
    for (const [command, input] of [
      ['who', ''],
      ['login', token],
    ] as const) {
      const { code, stderr } = await at.osp([command], input, env)
      assert.deepEqual(
        [
          code,
          /^osp: (?:gave up on \S+: )?the token was not sent .* previously verified by a certificate authority/mu.test(
            stderr,
          ),
        ],
        [4, true],
        stderr,
      )
    }
    assert.deepEqual(at.received(), [])
  })

  it('obtains no token that a former version stored, which still goes to the server of a former pin', async () => {
    await using at = await address()
    const own = selfSigned()
    await at.listen(own)
    await mkdir(dirname(at.tokenFile), { recursive: true, mode: 0o700 })
    await writeFile(at.tokenFile, `${token}\n`, { mode: 0o600 })
    await writeFile(at.list, `localhost:${at.port} ${fingerprintOf(own.cert)}\n`)
    await chmod(dirname(at.list), 0o700)
    assert.deepEqual(await at.osp(['who', '--tls']), { code: 0, stdout: '', stderr: '' })
    assert.deepEqual(at.received(), [token])
    // A token of a server that a CA vouched for: the former version wrote no line.
    await rm(at.list)
    const trap = selfSigned()
    await at.listen(trap)
    assert.match((await at.osp(['who', '--tls'])).stderr, /is not known yet; no token was sent/u)
    const named = ['--fingerprint', fingerprintOf(trap.cert)]
    for (const more of [named, []]) {
      const { code, stderr } = await at.osp(['who', '--tls', ...more])
      assert.deepEqual([code, /without a record .* log in again/u.test(stderr)], [4, true], stderr)
    }
    assert.deepEqual(at.received(), [])
  })
})
