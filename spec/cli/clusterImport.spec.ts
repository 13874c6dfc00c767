import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { postgresCluster } from '../../lib/postgres.ts'
import { roomy } from '../../lib/testing/storage/mailSteps.ts'
import { makeDataDirectory, receivedMessage, waitingMessage } from '../adapters/cluster/importRig.ts'
import { cuttingProxy } from '../adapters/postgres/cuttingProxy.ts'
import { daemon, events, run, start } from '../support/commands.ts'
import { databaseMissing } from '../support/postgres.ts'
import { spec } from '../support/spec.ts'
import { initialized, type Shared } from './sharedCluster.ts'

/** Statements of an import, in their order. */
const statements = [
  'ospd.begin_import_1',
  'ospd.import_users_1',
  'INSERT INTO ospd.marker',
  'INSERT INTO ospd.transfer',
  'ospd.import_messages_1',
]

const big = Buffer.alloc(40_000_000, 'abcdefg')

/** Makes a data directory in which alice has an unfinished upload of a client, which runs in `at`. Resolves with her token. */
async function usedDirectory(data: string, at: string): Promise<string> {
  const token = await makeDataDirectory(data)
  await mkdir(at)
  await writeFile(join(at, 'big.bin'), big)
  await using server = await daemon(data)
  await using sending = start('osp', sendArguments(server.server, '--limit-rate', '10M'), clientAt(at, token))
  await sending.printed(/"durable":[1-9]\d{6}/u)
  await server.kill('SIGKILL')
  return token
}

const sendArguments = (server: string, ...more: string[]) => [
  'send',
  '--user',
  'alice',
  '--server',
  server,
  '--json',
  ...more,
  'big.bin',
]

const clientAt = (at: string, token: string) => ({ cwd: at, env: { OSP_STATE: join(at, 'state'), OSP_TOKEN: token } })

/** Resolves with the ids that the mailboxes contain, after messages with known ids were sent again. */
async function mailOf(shared: Shared) {
  const { storage } = postgresCluster({ database: shared.url, files: shared.files, name: 'spec', address: '' })
  await using _ = storage
  await storage.open(nodePlatform())
  const repeated = await storage.mailboxes.append([receivedMessage, waitingMessage], roomy)
  assert.deepEqual(repeated, [undefined, undefined])
  const read = (user: string) => storage.mailboxes.read(user, 0, 100, 1_000_000)
  return { bob: (await read('bob')).map(({ seq }) => seq), carol: (await read('carol')).map(({ seq }) => seq) }
}

spec('ospd cluster import', (it) => {
  if (databaseMissing !== undefined) return it.skip('copies the data of a server', databaseMissing)

  it('that is killed several times loses nothing and stores nothing twice', async () => {
    await using shared = await initialized()
    const [data, at] = [join(shared.path, 'old'), join(shared.path, 'client')]
    const token = await usedDirectory(data, at)
    await using proxy = await cuttingProxy(shared.url)
    const args = ['cluster', 'import', '--files', shared.files, '--data', data]
    for (const statement of statements) {
      const answered = proxy.holdAnswerTo(statement)
      await using importing = start('ospd', args, { env: { OSPD_CLUSTER: proxy.url } })
      await Promise.race([answered, importing.ended])
      await importing.kill('SIGKILL')
      assert.equal((await importing.ended).signal, 'SIGKILL', `${statement}: ${importing.stderr}`)
      if (statement !== statements[0]) continue
      const early = await shared.run(
        'serve',
        '--port',
        '0',
        '--files',
        shared.files,
        '--data',
        join(shared.path, 'early'),
      )
      assert.equal(early.code, 1)
      assert.match(early.stderr, /the import of .*old into this cluster is not finished; repeat "ospd cluster import"/u)
    }
    const { code, stdout, stderr } = await shared.run(...args)
    assert.equal(code, 0, stderr)
    const counts = '2 users, 5 files (7.81 KiB), 3 unfinished uploads, 5 waiting messages, 5 message ids'
    assert.equal(stdout, `imported ${data}: ${counts}\n`)
    assert.equal(stderr, `ospd: not imported: ${data}/files/dave/link: it is not a regular file\n`)
    const again = await shared.run(...args)
    assert.match(again.stdout, /^\S*old was already imported \(\S+Z\); nothing was changed\n$/u)
    assert.deepEqual(await mailOf(shared), { bob: [1], carol: [1, 3, 5] })
    await using server = await shared.serve('one')
    const sent = await run('osp', sendArguments(server.server), clientAt(at, token))
    assert.equal(sent.code, 0, sent.stderr)
    const stored = events(sent.stdout).find(({ event }) => event === 'stored')
    assert.equal(stored?.digest, createHash('sha256').update(big).digest('hex'))
    assert.ok(Number(stored?.transferred) < big.length, `${stored?.transferred} bytes were sent`)
    assert.ok(big.equals(await readFile(join(shared.files, 'files/alice/big.bin'))))
  })
})
