import assert from 'node:assert/strict'
import { join } from 'node:path'
import { authority } from '../support/authority.ts'
import { type Daemon, daemon, type Place, place, run } from '../support/commands.ts'
import { spec } from '../support/spec.ts'

const root = authority()

interface Secured {
  readonly at: Place
  readonly data: string
  readonly server: Daemon
  /** Runs `osp who` as alice, with this certificate. */
  who(own: { readonly cert: string; readonly key: string }): ReturnType<typeof run>
}

/** Starts a daemon that requests certificates of the root. */
async function withDaemon(users: readonly string[], use: (secured: Secured) => Promise<void>): Promise<void> {
  await using at = await place()
  const data = join(at.path, 'data')
  await at.write('ca', root.cert)
  for (const name of users) assert.equal((await run('ospd', ['user', 'add', name, '--data', data])).code, 0)
  await using server = await daemon(data, ['--tls', 'auto', '--tls-client-ca', join(at.path, 'ca')])
  const flags = ['--server', server.server, '--user', 'alice', '--state', 's', '--quiet', '--tls']
  await use({
    at,
    data,
    server,
    async who({ cert, key }) {
      await at.write('cert', cert)
      await at.write('key', key)
      return await run('osp', ['who', ...flags, '--tls-cert', 'cert', '--tls-key', 'key'], { cwd: at.path })
    },
  })
}

const alice = root.issue({ names: ['alice'] })

spec('a certificate of a client', (it) => {
  it('permits logins under its name if there is no list of users', () =>
    withDaemon([], async ({ who }) => {
      assert.equal((await who(alice)).code, 0)
    }))

  it('must be that of a listed user, if there is a list, and is refused once the user is removed', () =>
    withDaemon(['alice', 'bob'], async ({ who, data }) => {
      assert.equal((await who(alice)).code, 0)
      assert.equal((await run('ospd', ['user', 'remove', 'alice', '--data', data])).code, 0)
      const { code, stderr } = await who(alice)
      assert.equal(code, 4)
      assert.match(stderr, /alice has a certificate, but is not a user of this server/u)
    }))

  for (const [what, own, why] of [
    ['has expired', root.issue({ names: ['alice'], notAfter: '20200101000000Z' }), /it has expired/u],
    [
      'is of another authority',
      authority('b').issue({ names: ['alice'] }),
      /it is not signed by the authority that this/u,
    ],
  ] as const) {
    it(`that ${what} permits no login, and both sides report the reason`, () =>
      withDaemon([], async ({ who, server }) => {
        const { code, stderr } = await who(own)
        assert.equal(code, 4)
        assert.match(stderr, why)
        await server.printed(new RegExp(`link-refused user=alice .*the certificate is not valid: ${why.source}`, 'u'))
      }))
  }
})

spec('a certificate of ospd serve', (it) => {
  for (const [what, notAfter, text] of [
    ['has expired', '20200101000000Z', 'expires=2020-01-01T00:00:00\\.000Z text="the certificate has expired'],
    ['expires soon', inDays(3), 'expires=\\S+ text="the certificate expires within 3 days'],
  ] as const) {
    it(`that ${what} causes a warning when the daemon starts, and at SIGHUP`, async () => {
      await using at = await place()
      const { cert, key } = root.issue({ notAfter })
      await at.write('cert', cert)
      await at.write('key', key)
      const flags = ['--tls-cert', join(at.path, 'cert'), '--tls-key', join(at.path, 'key')]
      await using server = await daemon(join(at.path, 'data'), flags)
      const line = ` warn  tls-expiring ${text}.*\\n`
      await server.printed(new RegExp(line, 'u'))
      server.child.kill('SIGHUP')
      await server.printed(new RegExp(`${line}[^]*${line}`, 'u'))
    })
  }

  it('that the daemon created causes no warning', async () => {
    await using at = await place()
    await using server = await daemon(at.path, ['--tls', 'auto'])
    assert.doesNotMatch(server.stderr, /tls-expiring/u)
  })
})

/** Returns the time in the format of certificates. */
function inDays(days: number): string {
  const text = new Date(Date.now() + days * 86_400_000 - 60_000).toISOString()
  return `${text.replace(/[-:T]/gu, '').slice(0, 14)}Z`
}
