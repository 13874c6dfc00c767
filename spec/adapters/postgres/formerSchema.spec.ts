import assert from 'node:assert/strict'
import type { QueryResultRow } from 'pg'
import { Database, type Statement } from '../../../lib/adapters/postgres/database.ts'
import { stepsOn } from '../../../lib/adapters/postgres/postgresSteps.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { decodeBody } from '../../../lib/wire/messageBody.ts'
import { ClusterServers } from '../../support/clusterServers.ts'
import { type FileClient, sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { spec } from '../../support/spec.ts'
import {
  announcedFiles,
  claimed,
  completed,
  farAway,
  fileOf,
  marked,
  twoServers,
  upload,
  uploadOf,
} from '../cluster/contract/uploads.ts'
import { emptyStore } from './stores.ts'

/** The statements of version 2 of the schema for uploads, with the columns that this version reads. */
const formerStatements: Readonly<Record<string, string>> = {
  'transfer-verified': "SELECT holds, changes, '[]'::jsonb AS waiting FROM ospd.verify_2($1, $2, $3, $4, $5)",
  'transfer-announce': `SELECT '[]'::jsonb AS waiting, '[]'::jsonb AS unfinished, is_over_quota, ended, changes
    FROM ospd.announce_2($1, $2, $3, $4, $5, $6, $7, array_fill(NULL::text, ARRAY[cardinality($2::text[])]), $8, $9, $10, $11, $12, $13, $14)`,
  'file-begin': "SELECT *, '[]'::jsonb AS unfinished FROM ospd.begin_change_2($1, $2, $3, $4, $5, $6, $7, $8, $9)",
  // The version of a file is not compared.
  'transfer-reported': 'SELECT ospd.report_2($1, $2, array_fill(NULL::text, ARRAY[cardinality($3::text[])]))',
}

/** A database as a server uses it, with version 2 of the schema or, if `isFormer` is false, with this one. */
class TestedDatabase extends Database {
  readonly #isFormer: boolean
  readonly #beforePost: () => Promise<void>

  /** `beforePost` is called before messages are stored. */
  constructor(url: string, isFormer: boolean, beforePost = async () => {}) {
    super({ url, connections: 4 })
    this.#isFormer = isFormer
    this.#beforePost = beforePost
  }

  override async query<Row extends QueryResultRow>(
    { name, text }: Statement,
    values?: readonly unknown[],
  ): Promise<Row[]> {
    if (name.startsWith('post_')) await this.#beforePost()
    return super.query({ name, text: (this.#isFormer && formerStatements[name]) || text }, values)
  }
}

/** Two servers of a store. The first one has version 2 of the schema. */
async function formerAndPresent() {
  const store = await emptyStore()
  const former = stepsOn(new TestedDatabase(store.url, true))
  await former.open()
  const steps = [former, await store.connect()]
  const servers = await twoServers({ ...store, connect: async () => steps.shift() ?? assert.fail() })
  return {
    ...servers,
    async [Symbol.asyncDispose]() {
      await former[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
    },
  }
}

const versionOf = (size: number) => ({ name: 'a', bytes: patterned(size), modifiedAt: size })
const [earlier, newer] = [versionOf(1_000), versionOf(2_000)]

async function put(client: FileClient, file: typeof earlier): Promise<void> {
  await client.put(file)
}

async function send(client: FileClient, file: typeof earlier): Promise<void> {
  const { instance } = await client.start(file)
  await client.chunk(instance, 0, file.bytes)
  await client.end(instance, sha256(file.bytes))
}

spec('a server with version 2 of the schema', (it) => {
  if (databaseMissing !== undefined) return it.skip('stores files beside servers with this version', databaseMissing)

  it('keeps its files that were not reported, and its verified uploads, beside servers with this version', async () => {
    await using servers = await formerAndPresent()
    const { first, second, one, two } = servers
    const { transfers } = second.steps
    const file = fileOf(upload)
    const announced = [{ file, version: 'v2', modifiedAt: 1 }]
    await completed(first, one, upload)
    const { claim } = await claimed(second, two, upload)
    const waiting = [{ file, version: 'v1', modifiedAt: upload.modifiedAt, server: first.server }]
    assert.deepEqual(await transfers.announce(second.server, announced, farAway), { ...announcedFiles, waiting })
    assert.deepEqual(await transfers.verified(claim, file, 'v2'), { ...marked, waiting })
    assert.deepEqual(await transfers.forget(upload, file.digest), waiting[0])
    await first.steps.transfers.reported([upload])
    assert.deepEqual(await transfers.verified(claim, file, 'v2'), marked)
    const other = uploadOf('alice', 'other')
    const { claim: own } = await claimed(first, one, other)
    await first.steps.transfers.verified(own, fileOf(other), 'v1')
    const unfinished = [await transfers.record('alice', 'other')]
    const replacing = [{ file: fileOf(other), version: 'v2', modifiedAt: 1 }]
    const refused = await transfers.announce(second.server, replacing, farAway)
    assert.deepEqual(refused, { ...announcedFiles, unfinished })
  })

  it('replaces files that other servers have not reported, whose reports then do not apply to the newer files', async () => {
    await using servers = await formerAndPresent()
    const { first, second, two } = servers
    const { transfers } = second.steps
    const announced = { file: fileOf(upload), version: 'v2', modifiedAt: 1 }
    await completed(second, two, upload)
    assert.deepEqual(await first.steps.transfers.announce(first.server, [announced], farAway), announcedFiles)
    assert.deepEqual(await transfers.unreported(second.server), [])
    await transfers.reported([{ ...upload, version: 'v1' }])
    assert.equal(await transfers.forget(upload, announced.file.digest), undefined)
    assert.deepEqual(await first.steps.transfers.unreported(first.server), [announced])
  })

  for (const [what, replace] of [
    ['a small file', put],
    ['an upload', send],
  ] as const) {
    for (const isFormer of [true, false]) {
      const order = isFormer ? 'in the order of the files' : 'in any order'
      const by = isFormer ? 'a server with this version' : 'it'
      it(`and servers with this version store each message once, ${order}, if ${what} at ${by} replaces the file`, async () => {
        await using store = await emptyStore()
        const { mail } = await store.connect()
        /** Resolves with the sizes of the files that messages name, in their order, once one of them has this size. */
        const sizesOnce = async (size: number) => {
          for (;;) {
            const [messages = []] = await mail.read([{ user: 'ingest', afterSeq: 0 }], 9, 99_999)
            const sizes = messages.map(({ content }) => decodeBody(content).attributes.file?.size)
            if (sizes.includes(size)) return sizes
          }
        }
        await using cluster = await ClusterServers.create()
        const [reached, released] = [deferred<void>(), deferred<void>()]
        const stopped = () => {
          reached.resolve()
          return released.promise
        }
        const options = { notify: [{ user: 'ingest' }] }
        const first = await cluster.start(options, () => stepsOn(new TestedDatabase(store.url, isFormer, stopped)))
        const second = await cluster.start(options, () => stepsOn(new TestedDatabase(store.url, !isFormer)))
        const sending = send(await cluster.client(first, { session: 'one' }), earlier)
        await reached.promise
        await replace(await cluster.client(second, { session: 'one' }), newer)
        const before = await sizesOnce(2_000)
        released.resolve()
        await sending
        // It stores its messages before it closes.
        await first.close()
        assert.deepEqual(before, isFormer ? [1_000, 2_000] : [2_000])
        assert.deepEqual(await sizesOnce(1_000), isFormer ? [1_000, 2_000] : [2_000, 1_000])
        assert.deepEqual(await cluster.directory.read('alice', 'a'), newer.bytes)
      })
    }
  }
})
