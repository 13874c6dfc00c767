import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type KnownServersOptions, knownServer, knownServers } from '../../../lib/adapters/auth/knownServers.ts'
import type { SeenServer } from '../../../lib/adapters/net/tls/dialling.ts'
import { place } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'

const server: SeenServer = {
  host: 'example.org',
  port: 6682,
  fingerprint: 'SHA256:one',
  verified: false,
  why: 'self-signed',
}
const other = { ...server, fingerprint: 'SHA256:other' }
const head = '# known_servers, version 2\n'

interface List {
  readonly path: string
  readonly pinned: SeenServer[]
  trust(server: SeenServer): Promise<void>
}

async function withList(use: (list: List) => Promise<void>, options: KnownServersOptions = {}): Promise<void> {
  await using at = await place()
  const path = join(at.path, 'state/known_servers')
  const pinned: SeenServer[] = []
  const trust = knownServers(path, { pinned: (server) => pinned.push(server), ...options })
  await use({ path, pinned, trust: async (server) => trust(server) })
}

const refusal = (message: RegExp) => ({ code: 'unauthorized', message })

spec('a known server', (it) => {
  it('is pinned on first use, reported once, in a file that only its owner can access', () =>
    withList(async ({ path, trust, pinned }) => {
      await trust(server)
      await trust(server)
      assert.deepEqual(pinned, [server])
      assert.equal(readFileSync(path, 'utf8'), `${head}example.org:6682 SHA256:one\n`)
      assert.deepEqual([statSync(path).mode & 0o777, statSync(join(path, '..')).mode & 0o777], [0o600, 0o700])
    }))

  it('with another key is rejected: the error names the reason, the risk and the line to remove', () =>
    withList(async ({ path, trust }) => {
      await trust({ ...server, host: 'a.example' })
      await trust(server)
      await assert.rejects(
        trust(other),
        refusal(
          new RegExp(
            '^the server at example\\.org:6682 presents a different key than before: SHA256:other, not SHA256:one\\. Either the server has ' +
              `a new key, or another program .*nothing was sent\\..* remove line 3 of ${path} and retry$`,
            'u',
          ),
        ),
      )
    }))

  it('at an IPv6 address with a zone is found in any case of the address, but only with the same interface', () =>
    withList(async ({ path, trust, pinned }) => {
      await trust({ ...server, host: 'fe80::ab%eth0' })
      await trust({ ...server, host: 'FE80::AB%eth0' })
      await trust({ ...other, host: 'fe80::ab%ETH0' })
      assert.equal(pinned.length, 2)
      const lines = ['[fe80::ab%eth0]:6682 SHA256:one', '[fe80::ab%ETH0]:6682 SHA256:other']
      assert.equal(readFileSync(path, 'utf8'), `${head}${lines.join('\n')}\n`)
    }))

  it('with another key is rejected, even if the certificate has a trusted root', () =>
    withList(async ({ trust }) => {
      await trust(server)
      await assert.rejects(trust({ ...other, verified: true }), refusal(/A trusted authority vouches for the new key/u))
    }))

  it('is accepted with its new key after its line was removed', () =>
    withList(async ({ path, trust }) => {
      await trust(server)
      writeFileSync(path, '')
      await trust(other)
      assert.equal(readFileSync(path, 'utf8'), `${head}example.org:6682 SHA256:other\n`)
    }))

  it('with a trusted root is recorded once without a pin; another certificate with a root is no change', () =>
    withList(async ({ path, trust, pinned }) => {
      await trust({ ...server, verified: true })
      await trust({ ...other, verified: true })
      assert.deepEqual(pinned, [])
      assert.equal(readFileSync(path, 'utf8'), `${head}example.org:6682 authority\n`)
    }))

  it('that had a trusted root is rejected without one, and neither pinned nor reported', () =>
    withList(async ({ path, trust, pinned }) => {
      await trust({ ...server, verified: true })
      await trust({ ...other, port: 1 })
      const message = new RegExp(
        '^the certificate of the server at example\\.org:6682 was previously signed by a trusted authority, and now is not: ' +
          `self-signed \\(its key is SHA256:other\\)\\. .*nothing was sent\\. .*--tls-ca FILE.* remove line 2 of ${path} and retry$`,
        'u',
      )
      await assert.rejects(trust(other), refusal(message))
      await trust({ ...server, verified: true })
      assert.deepEqual(pinned.length, 1)
      assert.deepEqual(readFileSync(path, 'utf8').split('\n').slice(1), [
        'example.org:6682 authority',
        'example.org:1 SHA256:other',
        '',
      ])
    }))

  it('with a private authority is rejected without that authority, even with its pin', () =>
    withList(async ({ path, trust }) => {
      await trust(server)
      await knownServers(path, { pinsNobody: true })({ ...other, verified: true })
      await assert.rejects(trust(server), refusal(/previously signed by a trusted authority.* remove line 3 of/u))
    }))

  it('with a trusted root is not locked out by a later pin of a man in the middle', () =>
    withList(async ({ path, trust }) => {
      await trust({ ...server, verified: true })
      writeFileSync(path, `${readFileSync(path, 'utf8')}example.org:6682 SHA256:other\n`)
      await trust({ ...server, verified: true })
      await assert.rejects(trust(other), refusal(/previously signed by a trusted authority/u))
    }))

  it('with a trusted root is trusted if the list cannot be written', () =>
    withList(async ({ path, trust }) => {
      writeFileSync(join(path, '../..', 'state'), '')
      await assert.rejects(trust(server), refusal(/cannot be/u))
      const below = knownServers(join(path, '../../none/known_servers'))
      mkdirSync(join(path, '../../none'), { mode: 0o500 })
      await below({ ...server, verified: true })
    }))

  it('is found in a list of an earlier version, and its pin is distinguished from later ones', () =>
    withList(async ({ path, trust }) => {
      mkdirSync(join(path, '..'))
      writeFileSync(path, 'example.org:6682 SHA256:one\n')
      await trust({ ...other, port: 1 })
      const pins = [await knownServer(path, server), await knownServer(path, { ...other, port: 1 })]
      assert.deepEqual(
        pins.map((known) => known?.pin),
        [
          { fingerprint: 'SHA256:one', line: 1, isFormer: true },
          { fingerprint: 'SHA256:other', line: 3, isFormer: false },
        ],
      )
    }))

  it('is not trusted by a list that others can write to or replace; the error names the fix', () =>
    withList(async ({ path, trust }) => {
      if (process.platform === 'win32') return
      await trust(server)
      for (const [mode, directory] of [
        [0o602, 0o700],
        [0o606, 0o700],
        [0o600, 0o777],
      ] as const) {
        chmodSync(path, mode)
        chmodSync(join(path, '..'), directory)
        await assert.rejects(trust(server), refusal(/can be written to by other users.* run "chmod go-w \//u))
        await assert.rejects(trust({ ...server, verified: true }), refusal(/chmod go-w/u))
      }
      chmodSync(join(path, '..'), 0o700)
      await trust(server)
    }))

  it('is one for each host and port, in any letter case', () =>
    withList(async ({ trust, pinned }) => {
      await trust(server)
      await trust({ ...other, port: 1 })
      await trust({ ...server, host: 'EXAMPLE.org' })
      await trust({ ...other, host: '::1' })
      await trust({ ...other, host: '::1' })
      assert.deepEqual(
        pinned.map(({ host, port }) => [host, port]),
        [
          ['example.org', 6682],
          ['example.org', 1],
          ['::1', 6682],
        ],
      )
    }))

  it('is found in an edited list, also without a final newline', () =>
    withList(async ({ path, trust }) => {
      mkdirSync(join(path, '..'))
      writeFileSync(path, '# mine\n\nexample.org:6682  SHA256:one \r\nexample.org:66821 SHA256:x')
      await trust(server)
      await trust({ ...server, host: 'b.example' })
      assert.match(readFileSync(path, 'utf8'), /SHA256:x\n# known_servers, version 2\nb\.example:6682 SHA256:one\n$/u)
    }))

  for (const [what, line] of [
    ['a tab', 'example.org:6682\tSHA256:one'],
    ['blanks before it', '  example.org:6682 SHA256:one'],
    ['capitals', 'Example.ORG:6682 SHA256:one'],
    ['a byte order mark', '\uFEFFexample.org:6682 SHA256:one'],
  ] as const) {
    it(`is found in a line with ${what}, so that it has no second first use`, () =>
      withList(async ({ path, trust, pinned }) => {
        mkdirSync(join(path, '..'))
        writeFileSync(path, `${line}\r\n`)
        await trust(server)
        assert.equal((await knownServer(path, server))?.pin?.fingerprint, server.fingerprint)
        await assert.rejects(trust(other), refusal(/remove line 1 of/u))
        assert.deepEqual(pinned, [])
      }))
  }

  for (const line of ['example.org:6682', 'example.org SHA256:one', 'example.org:6682 SHA256:one more', '\0\0']) {
    it(`is not trusted by a list with a line such as ${JSON.stringify(line)}, which is named`, () =>
      withList(async ({ path, trust }) => {
        mkdirSync(join(path, '..'))
        writeFileSync(path, `# mine\n\n${line}\n`)
        await assert.rejects(
          trust(server),
          refusal(/^line 3 of .*known_servers is not of the form "HOST:PORT SHA256:…".*correct or/u),
        )
      }))
  }

  it('whose line is incomplete is rejected, not pinned again', () =>
    withList(async ({ path, trust }) => {
      mkdirSync(join(path, '..'))
      writeFileSync(path, 'example.org:6682 SHA2')
      await assert.rejects(trust(server), refusal(/not SHA2\..*remove line 1 of/u))
    }))

  it('is pinned by several programs at once; one of two keys is rejected', () =>
    withList(async ({ path, trust }) => {
      const hosts = Array.from({ length: 20 }, (_, at) => ({ ...server, host: `h${at}` }))
      const all = await Promise.allSettled([...hosts.map(trust), trust(server), trust(other), trust(server)])
      assert.deepEqual(
        all.slice(0, 20).filter(({ status }) => status === 'rejected'),
        [],
      )
      const lines = readFileSync(path, 'utf8').split('\n')
      for (const { host } of hosts) assert.ok(lines.includes(`${host}:6682 SHA256:one`))
      const kept = lines.find((line) => line.startsWith('example.org:6682 '))?.split(' ')[1]
      assert.deepEqual(
        all.slice(20).map(({ status }) => status),
        [server, other, server].map(({ fingerprint }) => (fingerprint === kept ? 'fulfilled' : 'rejected')),
      )
    }))

  it('is not pinned with pinsNobody, and the error has the reason', () =>
    withList(
      async ({ path, trust }) => {
        await assert.rejects(trust(server), refusal(/the specified authority does not vouch for .*: self-signed/u))
        assert.throws(() => statSync(path), { code: 'ENOENT' })
      },
      { pinsNobody: true },
    ))

  it('is neither accepted nor refused because of its pin if an authority is named', () =>
    withList(async ({ path, trust }) => {
      await trust(server)
      const byAuthority = knownServers(path, { pinsNobody: true })
      await assert.rejects(async () => byAuthority(server), refusal(/the specified authority does not vouch for/u))
      await byAuthority({ ...other, verified: true })
    }))

  it('is not trusted if the list cannot be read or written', () =>
    withList(async ({ path, trust }) => {
      mkdirSync(path, { recursive: true })
      await assert.rejects(
        trust(server),
        refusal(/known_servers cannot be read, and no server is trusted without it: /u),
      )
      const below = knownServers(join(path, '../file/known_servers'))
      writeFileSync(join(path, '../file'), '')
      await assert.rejects(async () => below(server), refusal(/cannot be (?:read|written)/u))
    }))
})
