import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { fingerprintOf } from 'ospd/node'
import { commandEvents } from '../../bin/common/events.ts'
import { authority } from '../support/authority.ts'
import { type Daemon, daemon, events, type Place, place, run, start } from '../support/commands.ts'
import { selfSigned } from '../support/selfSigned.ts'
import { spec } from '../support/spec.ts'

interface Secured {
  readonly at: Place
  readonly daemon: Daemon
  /** The fingerprint in the first line of the daemon. */
  readonly fingerprint: string
  /** Runs `osp` with a state directory of its own, as alice. */
  osp(...args: readonly string[]): ReturnType<typeof run>
}

async function withDaemon(use: (secured: Secured) => Promise<void>, flags = ['--tls', 'auto']): Promise<void> {
  await using at = await place()
  await using running = await daemon(join(at.path, 'data'), flags)
  const [, fingerprint = ''] = await running.printed(/fingerprint (SHA256:\S{43}), data in/u)
  await use({
    at,
    daemon: running,
    fingerprint,
    osp: (...args) =>
      run('osp', [...args, '--server', running.server, '--user', 'alice', '--state', 'state'], { cwd: at.path }),
  })
}

spec('ospd serve --tls auto', (it) => {
  it('prints its fingerprint, also as JSON, which stays the same after a restart', async () => {
    await using at = await place()
    const flags = ['serve', '--tls', 'auto', '--port', '0', '--data', at.path]
    await using first = start('ospd', flags)
    const pattern = /^ospd ready on 127\.0\.0\.1:\d+ with TLS, fingerprint (SHA256:[A-Za-z\d+/]{43}), data in .*\n$/u
    const [, fingerprint] = await first.printed(pattern)
    await first.kill('SIGTERM')
    await using second = start('ospd', [...flags, '--json'])
    await second.printed(/\n/u)
    const [{ v: _v, event: _event, ...ready } = {}] = events(second.stdout)
    assert.equal(commandEvents.serve.ready.parse(ready).fingerprint, fingerprint)
    const modes = ['tls', 'tls/key.pem', 'tls/cert.pem'].map((name) => statSync(join(at.path, name)).mode & 0o777)
    assert.deepEqual(modes, [0o700, 0o600, 0o600])
  })

  it('accepts files and messages from osp --tls, which pins its key at the first use and says so once', () =>
    withDaemon(async ({ at, osp, fingerprint, daemon: { server } }) => {
      await at.write('a', 'hello')
      const sent = await osp('send', 'a', '--tls')
      const told = `osp: stored ${fingerprint} as the key of ${server}; compare it with the fingerprint that its daemon prints\n`
      assert.deepEqual([sent.code, sent.stderr], [0, told])
      assert.equal(readFileSync(join(at.path, 'data/files/alice/a'), 'utf8'), 'hello')
      const known = readFileSync(join(at.path, 'state/known_servers'), 'utf8')
      assert.equal(known, `# known_servers, version 2\n${server} ${fingerprint}\n`)
      assert.deepEqual(await osp('msg', 'alice', 'hi', '--tls'), { code: 0, stdout: 'alice stored\n', stderr: '' })
    }))

  it('refuses clients that offer only an older TLS version', () =>
    withDaemon(async ({ daemon: { port } }) => {
      const old = connectTls({ host: '127.0.0.1', port, maxVersion: 'TLSv1.2', rejectUnauthorized: false })
      const [error] = await once(old, 'error').catch((error: unknown) => [error])
      assert.match(String(error), /alert protocol version/u)
    }))

  it('tells a client without TLS what to do, and the client stops retrying', () =>
    withDaemon(async ({ at, osp }) => {
      await at.write('a', 'x')
      const { code, stderr } = await osp('send', 'a')
      assert.equal(code, 1)
      assert.match(stderr, /^osp: gave up on \S+: this server requires TLS; connect with TLS \(osp --tls\)$/mu)
    }))
})

spec('osp --tls', (it) => {
  it('refuses a server whose key has changed, and sends it nothing', () =>
    withDaemon(async ({ at, osp, fingerprint, daemon: first }) => {
      assert.equal((await osp('who', '--tls')).code, 0)
      await first.kill('SIGTERM')
      rmSync(join(at.path, 'data/tls'), { recursive: true })
      await using second = await daemon(join(at.path, 'data'), ['--tls', 'auto', '--port', `${first.port}`])
      const [, other] = await second.printed(/fingerprint (\S+), data/u)
      await at.write('secret', 'x')
      for (const command of [['who'], ['send', 'secret'], ['msg', 'bob', 'hi']]) {
        const { code, stdout, stderr } = await osp(...command, '--tls')
        assert.deepEqual([code, stdout], [4, ''])
        assert.ok(stderr.includes(`presents a different key than before: ${other}, not ${fingerprint}.`), stderr)
        assert.match(
          stderr,
          /another program is impersonating it.*nothing was sent.*remove line 2 of state\/known_servers and retry/u,
        )
        assert.doesNotMatch(stderr, /token|osp login/u)
      }
      const json = events((await osp('who', '--tls', '--json')).stdout)
      assert.equal(json.find(({ event }) => event === 'failed')?.code, 'unauthorized')
      await second.kill('SIGTERM')
      assert.doesNotMatch(second.stderr, /link-open/u)
    }))

  it('says what to do about a server without TLS, and stops retrying', async () => {
    await using at = await place()
    await using plain = await daemon(at.path)
    const { code, stderr } = await run('osp', ['who', '--tls', '--server', plain.server])
    assert.equal(code, 1)
    assert.match(stderr, /^osp: gave up on \S+: the server at \S+ does not use TLS; start it with TLS/mu)
  })

  it('trusts only servers of the authority in --tls-ca', async () => {
    await using at = await place()
    const root = authority()
    const { cert, key } = root.issue({ hosts: ['localhost'] })
    for (const [name, text] of Object.entries({ cert, key, ca: root.cert, other: authority().cert })) {
      await at.write(name, text)
    }
    const [certPath, keyPath] = [join(at.path, 'cert'), join(at.path, 'key')]
    await using its = await daemon(join(at.path, 'data'), ['--tls-cert', certPath, '--tls-key', keyPath])
    const who = (ca: string) =>
      run('osp', ['who', '--tls', '--tls-ca', ca, '--server', `localhost:${its.port}`, '--state', 's'], {
        cwd: at.path,
      })
    assert.deepEqual(await who('ca'), { code: 0, stdout: '', stderr: '' })
    const { code, stderr } = await who('other')
    assert.equal(code, 4)
    assert.match(stderr, /the specified authority does not vouch for .*nothing was sent/u)
  })

  for (const [what, flags, message] of [
    ['--tls-ca without --tls', ['--tls-ca', 'x'], /--tls-ca requires --tls; without TLS nothing is encrypted/u],
    ['an authority that is not there', ['--tls', '--tls-ca', 'x'], /--tls-ca x cannot be read: it does not exist/u],
    ['a certificate without its key', ['--tls', '--tls-cert', 'x'], /--tls-cert requires --tls-key/u],
  ] as const) {
    it(`does not start with ${what}`, async () => {
      await using at = await place()
      const { code, stderr } = await run('osp', ['who', ...flags], { cwd: at.path })
      assert.equal(code, 2)
      assert.match(stderr, message)
    })
  }
})

spec('ospd serve with a certificate', (it) => {
  it('presents a new one after SIGHUP, and keeps the old one if the new one cannot be used', async () => {
    await using at = await place()
    const [cert, key] = [join(at.path, 'cert'), join(at.path, 'key')]
    const put = (identity: { cert: string; key: string }) => {
      writeFileSync(cert, identity.cert)
      writeFileSync(key, identity.key)
    }
    const [one, two] = [selfSigned(), selfSigned()]
    put(one)
    await using its = await daemon(join(at.path, 'data'), ['--tls-cert', cert, '--tls-key', key])
    await its.printed(/with TLS/u)
    const seen = async () => {
      const stream = connectTls({ host: '127.0.0.1', port: its.port, rejectUnauthorized: false })
      await once(stream, 'secureConnect')
      const shown = fingerprintOf(stream.getPeerX509Certificate()?.toString() ?? '')
      stream.destroy()
      return shown
    }
    assert.equal(await seen(), fingerprintOf(one.cert))
    put(two)
    its.child.kill('SIGHUP')
    await its.printed(/info {2}tls-reloaded fingerprint=SHA256/u)
    assert.equal(await seen(), fingerprintOf(two.cert))
    put({ cert: one.cert, key: two.key })
    its.child.kill('SIGHUP')
    await its.printed(/error tls-not-reloaded text="the key does not belong to the certificate/u)
    assert.equal(await seen(), fingerprintOf(two.cert))
  })

  for (const [what, flags, message] of [
    ['one without its key', ['--tls-cert', 'cert'], /--tls-cert requires --tls-key, the key/u],
    ['a key alone', ['--tls-key', 'key'], /--tls-key requires --tls-cert, the cert/u],
    ['another one’s key', ['--tls-cert', 'cert', '--tls-key', 'other'], /the key does not belong to the certificate/u],
    [
      'one that is not there',
      ['--tls-cert', 'no', '--tls-key', 'key'],
      /--tls-cert no cannot be read: it does not exist/u,
    ],
    ['one that is none', ['--tls-cert', 'key', '--tls-key', 'key'], /--tls-cert key is not a PEM certificate; /u],
    ['a key that is none', ['--tls-cert', 'cert', '--tls-key', 'cert'], /--tls-key cert is not a PEM private key; /u],
    ['both this and auto', ['--tls', 'auto', '--tls-cert', 'cert'], /remove --tls-cert and --tls-key/u],
    ['an authority of clients alone', ['--tls-client-ca', 'cert'], /--tls-client-ca requires TLS/u],
    [
      'an authority of clients that is none',
      ['--tls', 'auto', '--tls-client-ca', 'key'],
      /--tls-client-ca key is not a PEM certificate; /u,
    ],
  ] as const) {
    it(`does not start with ${what}`, async () => {
      await using at = await place()
      const { cert, key } = selfSigned()
      for (const [name, text] of Object.entries({ cert, key, other: selfSigned().key })) await at.write(name, text)
      const { code, stdout, stderr } = await run('ospd', ['serve', '--port', '0', ...flags], { cwd: at.path })
      assert.deepEqual([code, stdout], [2, ''])
      assert.match(stderr, message)
    })
  }
})
