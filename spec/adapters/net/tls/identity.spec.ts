import assert from 'node:assert/strict'
import { createHash, createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { contextOf, fingerprintOf } from '../../../../lib/adapters/net/tls/identity.ts'
import { ownIdentity } from '../../../../lib/adapters/net/tls/ownIdentity.ts'
import { tls } from '../../../../lib/adapters/net/tls.ts'
import { place } from '../../../support/commands.ts'
import { selfSigned } from '../../../support/selfSigned.ts'
import { spec } from '../../../support/spec.ts'

const own = selfSigned()
const usage = (message: RegExp) => ({ code: 'usage', message })

spec('a self-signed certificate', (it) => {
  it('is signed by its own key, for this machine, and cannot sign others', () => {
    const certificate = new X509Certificate(own.cert)
    assert.ok(certificate.verify(certificate.publicKey))
    assert.ok(certificate.checkPrivateKey(createPrivateKey(own.key)))
    assert.equal(certificate.subjectAltName, 'DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1')
    assert.deepEqual([certificate.ca, certificate.subject, certificate.issuer], [false, 'CN=ospd', 'CN=ospd'])
  })

  it('uses the curve P-256, and is valid at every date', () => {
    const { publicKey, validFrom, validTo } = new X509Certificate(own.cert)
    assert.equal(publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1')
    assert.deepEqual([validFrom, validTo], ['Jan  1 00:00:00 2000 GMT', 'Dec 31 23:59:59 9999 GMT'])
  })

  it('has a serial number and a key of its own', () => {
    const [one, other] = [new X509Certificate(own.cert), new X509Certificate(selfSigned().cert)]
    assert.notEqual(one.serialNumber, other.serialNumber)
    assert.notEqual(fingerprintOf(own.cert), fingerprintOf(other.toString()))
    assert.match(one.serialNumber, /^[4-7][0-9A-F]{31}$/u)
  })
})

spec('a fingerprint', (it) => {
  it('is that of the public key, in the format of ssh', () => {
    const spki = new X509Certificate(own.cert).publicKey.export({ type: 'spki', format: 'der' })
    const base64 = createHash('sha256').update(spki).digest('base64')
    assert.equal(`${fingerprintOf(own.cert)}=`, `SHA256:${base64}`)
  })
})

spec('an invalid certificate or key', (it) => {
  it('is reported if the two do not belong together', () =>
    assert.throws(
      () => contextOf({ cert: own.cert, key: selfSigned().key }),
      usage(/^the key does not belong to the certificate; /u),
    ))

  it('is reported if the key is damaged but contains the public part', () => {
    const der = createPrivateKey(own.key).export({ type: 'pkcs8', format: 'der' })
    // The private number of a P-256 key begins there.
    der[40] = (der[40] ?? 0) ^ 1
    const key = `-----BEGIN PRIVATE KEY-----\n${der.toString('base64')}\n-----END PRIVATE KEY-----\n`
    assert.ok(new X509Certificate(own.cert).checkPrivateKey(createPrivateKey(key)))
    assert.throws(() => contextOf({ cert: own.cert, key }), usage(/^the key does not belong to the certificate; /u))
  })

  it('is reported by name if it is not PEM', () => {
    assert.throws(() => contextOf({ ...own, cert: 'x' }), usage(/^the certificate cannot be read: .*; it must be in/u))
    assert.throws(() => contextOf({ ...own, key: 'x' }), usage(/^the key cannot be read: /u))
    assert.throws(
      () => contextOf({ ...own, clientCa: 'x' }),
      usage(/^the certificate of the authority cannot be read: /u),
    )
    assert.throws(() => tls({ port: 1, ca: 'x' }), usage(/^the certificate of the authority cannot be read: /u))
  })

  it('is reported if the key is encrypted', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const key = privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' }).toString()
    assert.throws(() => contextOf({ ...own, key }), usage(/^the key is encrypted; /u))
  })

  it('is reported if the other one is missing', () => {
    assert.throws(() => tls({ port: 1, cert: own.cert }), usage(/a certificate and its key must be given together/u))
    assert.throws(() => tls({ port: 1, key: own.key }), usage(/a certificate and its key must be given together/u))
  })

  it('is reported after an invalid port', () =>
    assert.throws(() => tls({ port: -1 }), usage(/the option port must be a whole number from 0 to 65535, not -1$/u)))
})

spec('the identity in a directory', (it) => {
  it('is created once, readable only by its owner', async () => {
    await using at = await place()
    const directory = join(at.path, 'data/tls')
    const made = await ownIdentity(directory)
    assert.deepEqual(await ownIdentity(directory), made)
    const modes = ['', 'key.pem', 'cert.pem'].map((name) => statSync(join(directory, name)).mode & 0o777)
    assert.deepEqual(modes, [0o700, 0o600, 0o600])
  })

  it('keeps its key after a crash before the certificate was written', async () => {
    await using at = await place()
    const made = await ownIdentity(at.path)
    rmSync(join(at.path, 'cert.pem'))
    const again = await ownIdentity(at.path)
    assert.equal(fingerprintOf(again.cert), fingerprintOf(made.cert))
    assert.equal(again.key, made.key)
  })

  it('is not damaged by a file that a crash left incomplete', async () => {
    await using at = await place()
    writeFileSync(join(at.path, 'key.pem.new'), '-----BEGIN')
    const made = await ownIdentity(at.path)
    contextOf(made)
    assert.equal(readFileSync(join(at.path, 'key.pem'), 'utf8'), made.key)
  })

  for (const [what, name] of [
    ['a damaged key', 'key.pem'],
    ['a damaged certificate', 'cert.pem'],
  ] as const) {
    it(`is not replaced for ${what}: the error has advice`, async () => {
      await using at = await place()
      await ownIdentity(at.path)
      writeFileSync(join(at.path, name), 'x')
      await assert.rejects(ownIdentity(at.path), usage(/key\.pem and cert\.pem cannot be used: .*; remove both/u))
    })
  }
})
