import assert from 'node:assert/strict'
import { checkExposure, type Exposure, identityOf, withoutUsers } from '../../../bin/serve/identity.ts'
import { usersFile } from '../../../lib/adapters/auth/usersFile.ts'
import { here } from '../../../lib/testing/authenticator.ts'
import { place } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'

const bare: Exposure = {
  host: '127.0.0.1',
  isProxied: false,
  isTls: false,
  hasClientCa: false,
  hasUsers: false,
  allowPlaintext: false,
}

const local = [
  '127.0.0.1',
  '127.8.9.10',
  '::1',
  '::1%lo',
  '0:0:0:0:0:0:0:1',
  '::ffff:127.0.0.1',
  'localhost',
  'LocalHost',
]
const open = [
  '0.0.0.0',
  '::',
  '192.0.2.1',
  '2001:db8::1',
  '::ffff:192.0.2.1',
  'example.org',
  '127.example.org',
  '127.1',
]

const known = [
  { hasUsers: true },
  { hasClientCa: true, isTls: true },
  { hasUsers: true, hasClientCa: true, isTls: true },
] as const

spec('a server that listens at', (it) => {
  for (const host of local) {
    it(`${host} is local, and needs no users`, () => {
      assert.equal(checkExposure({ ...bare, host }), undefined)
      assert.equal(checkExposure({ ...bare, host, hasUsers: true }), undefined)
    })
  }

  for (const host of open) {
    it(`${host} is reachable by other machines, and requires users`, () => {
      for (const isTls of [false, true]) {
        const exposure = { ...bare, host, isTls }
        assert.throws(() => checkExposure(exposure), {
          name: 'UsageError',
          message: /no user could log in.*: add users with "ospd user add NAME".*--allow-plaintext/u,
        })
        const both = /could log in, and without TLS .*: add users .* first and specify --tls auto, or listen/u
        if (!isTls) assert.throws(() => checkExposure(exposure), { message: both })
        assert.match(checkExposure({ ...exposure, allowPlaintext: true }) ?? '', /log in under any name/u)
      }
    })
  }

  it('the loopback address is reachable by other machines if balancers pass on their connections', () => {
    const exposure = { ...bare, isProxied: true }
    const message =
      /can reach 127\.0\.0\.1 through the load balancers of --proxy-protocol, and no user .* or remove --proxy-pro/u
    assert.throws(() => checkExposure(exposure), { name: 'UsageError', message })
    assert.match(
      checkExposure({ ...exposure, allowPlaintext: true }) ?? '',
      /through the load balancers .* under any name/u,
    )
    assert.equal(checkExposure({ ...exposure, hasUsers: true, isTls: true }), undefined)
  })

  it('a reachable address requires TLS for tokens', () => {
    const exposure = { ...bare, host: '0.0.0.0', hasUsers: true }
    assert.throws(() => checkExposure(exposure), { name: 'UsageError', message: /without TLS tokens could be read/u })
    assert.match(
      checkExposure({ ...exposure, allowPlaintext: true }) ?? '',
      /without TLS: tokens and contents can be read/u,
    )
  })

  it('a reachable address with users and TLS produces no warning', () => {
    for (const knows of known) {
      for (const allowPlaintext of [false, true]) {
        assert.equal(checkExposure({ ...bare, host: '0.0.0.0', isTls: true, ...knows, allowPlaintext }), undefined)
      }
    }
  })
})

spec('a data directory without a list of users', (it) => {
  for (const hasClientCa of [false, true]) {
    it(`remembers the names that have logged in${hasClientCa ? ' with a certificate' : ''}`, async () => {
      await using at = await place()
      const open = () =>
        identityOf(usersFile(at.path, withoutUsers({ hasClientCa, allowPlaintext: false })), { hasClientCa }, at.path)
      const first = open()
      const peer = hasClientCa ? { ...here, certificateName: 'bob' } : here
      await first.authenticate({ user: 'bob', token: '', peer })
      assert.deepEqual([await first.knows('bob'), await first.knows('lunch')], [true, 'unseen'])
      const second = open()
      assert.deepEqual([await second.knows('bob'), await second.knows('lunch')], [true, 'unseen'])
    })
  }
})
