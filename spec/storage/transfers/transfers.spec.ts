import assert from 'node:assert/strict'
import { MemoryJournal } from '../../../lib/adapters/memory/memoryJournal.ts'
import { memory } from '../../../lib/adapters/memory/memoryStorage.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { fixed } from '../../../lib/limits.ts'
import type { StoredFile } from '../../../lib/ports/storage.ts'
import { MemoryFileRecords } from '../../../lib/storage/catalogue/fileRecords.ts'
import { RecordStore } from '../../../lib/storage/transfers/recordStore.ts'
import { Transfers } from '../../../lib/storage/transfers/transfers.ts'
import { surplusBlock, UploadLog } from '../../../lib/storage/transfers/uploadLog.ts'
import { claimed, fileOf, wanted } from '../../../lib/testing/storage/steps.ts'
import { spec } from '../../support/spec.ts'

spec('unfinished uploads', (it) => {
  it('are limited for each user, by a share of the free ones, and in all; an existing one continues, and an ended one frees a place', async () => {
    await using storage = memory()
    await storage.open(nodePlatform())
    const fill = async (user: string, many: number) => {
      for (let name = 0; name < many; name++) await claimed(storage, { user, name: `${name}` })
    }
    for (const user of ['u0', 'u1', 'u2', 'u3']) await fill(user, fixed.unfinishedPerUser)
    // A user has at most as many uploads as are free.
    await fill('u4', 1_000)
    await assert.rejects(claimed(storage, { user: 'u4', name: 'more' }), {
      code: 'too-many-uploads',
      message: /^u4 has 1000 .*, the maximum for one user while there are 9000 in all; finish or cancel/u,
    })
    await fill('u5', 500)
    await assert.rejects(fill('u5', 501), { code: 'too-many-uploads' })
    for (let user = 0; user < 500; user++) await claimed(storage, { user: `new-${user}` })
    const one = { user: 'u0', name: 'one more' }
    await assert.rejects(claimed(storage, one), {
      code: 'too-many-uploads',
      message: /^u0 has 2000 unfinished.*cancel/,
    })
    await assert.rejects(claimed(storage, { user: 'new' }), { code: 'too-many-uploads', message: /^there are 10000/ })
    await claimed(storage, { user: 'u0', name: '7' })
    await claimed(storage, { user: 'u0', name: '7', size: 9 })
    await storage.transfers.remove('u0', '7')
    await assert.rejects(claimed(storage, one), { code: 'too-many-uploads' })
    await claimed(storage, { user: 'new' })
    // With one more, this user has as many uploads as are free.
    for (let name = 0; name < fixed.unfinishedPerUser; name++) await storage.transfers.remove('u1', `${name}`)
    await storage.transfers.remove('u2', '0')
    await claimed(storage, one)
  })
})

const maxMarkers = 2 * surplusBlock

/** The records of stored files. After `stepsLeft` further steps, the process ends, and no call returns. */
class StoppingRecords extends MemoryFileRecords {
  stepsLeft = Number.POSITIVE_INFINITY
  writes = 0
  searches = 0

  override put(...call: Parameters<MemoryFileRecords['put']>): Promise<void> {
    this.writes++
    return this.#step(() => super.put(...call))
  }

  override prune(...call: Parameters<MemoryFileRecords['prune']>): Promise<void> {
    this.searches++
    return this.#step(() => super.prune(...call))
  }

  async #step(work: () => Promise<void>): Promise<void> {
    if (this.stepsLeft-- <= 0) await new Promise(() => {})
    await work()
  }
}

/** Completion markers in a journal, of which few stay in memory. Each file is stored as soon as it is announced. */
class StoredMarkers {
  readonly files = new StoppingRecords()
  readonly versions = new Map<string, string>()
  readonly #journal = new MemoryJournal(1_000_000)
  #transfers: Transfers | undefined

  get transfers(): Transfers {
    assert.ok(this.#transfers)
    return this.#transfers
  }

  /** Starts a process, which reads what the previous one has written. */
  async start(): Promise<void> {
    const records = new RecordStore()
    this.files.stepsLeft = Number.POSITIVE_INFINITY
    const names = {
      foldsCase: false,
      stored: async (_user: string, name: string) => this.versions.has(name),
      conflict: async () => undefined,
      version: async (_user: string, name: string) => this.versions.get(name),
      isIntact: async () => false,
      dropPartial: async () => {},
      partialBytes: async () => 0,
    }
    this.#transfers = new Transfers(records, names, () => 0, this.files)
    await records.open(await UploadLog.open(this.#journal, nodePlatform(), maxMarkers))
  }

  async store(names: readonly string[], version = '1', metadata?: Record<string, string>): Promise<void> {
    const announced = names.map((name) => {
      const file: StoredFile = { ...fileOf({ name }), replaced: this.versions.has(name) }
      return { file, version, modifiedAt: wanted.modifiedAt, ...(metadata && { metadata }) }
    })
    for (const name of names) this.versions.set(name, version)
    assert.deepEqual(
      (await this.transfers.announceAll(announced, 1_000)).filter((error) => error),
      [],
    )
  }
}

const namesFrom = (first: number, count: number) => Array.from({ length: count }, (_, at) => `${first + at}`)

spec('completion markers beyond the limit', (it) => {
  it('move to the records of files in blocks, and files of new names need no search for other records', async () => {
    const markers = new StoredMarkers()
    await markers.start()
    await markers.store(['first'])
    for (let at = 0; at < maxMarkers + 2 * surplusBlock; at += 16) await markers.store(namesFrom(at, 16))
    await markers.transfers.idle()
    assert.equal(markers.files.writes, 2)
    assert.equal(markers.files.searches, 0)
  })

  for (const steps of [0, 1, 2]) {
    it(`lose nothing if the process ends after ${steps} steps of a move`, async () => {
      const markers = new StoredMarkers()
      await markers.start()
      const [replaced, ...names] = namesFrom(0, maxMarkers + surplusBlock)
      assert.ok(replaced)
      await markers.files.put([{ ...fileOf({ name: replaced }), version: 'old', metadata: {} }])
      markers.versions.set(replaced, 'old')
      await markers.store([replaced, 'a', 'b'], '2', { kind: 'x' })
      await markers.transfers.reported([fileOf({ name: 'a' })])
      markers.files.stepsLeft = steps
      await markers.store(names)
      await markers.start()
      const unreported = await markers.transfers.unreported()
      assert.deepEqual(new Set(unreported.map(({ name }) => name)), new Set([replaced, 'b', ...names]))
      const expected = [replaced, 'a', 'b', ...names]
      for (let round = 0; round < 2; round++) {
        for (const name of expected) {
          const found = await markers.transfers.completed({ ...wanted, name })
          assert.equal(found?.digest, fileOf().digest, name)
        }
        const [known] = await markers.transfers.describe([{ user: 'alice', name: replaced, version: '2' }])
        assert.deepEqual(known?.metadata, { kind: 'x' })
        // The first call after the restart moves all surplus markers.
        await markers.store(['last'])
        await markers.transfers.idle()
      }
      const versions: string[] = []
      for await (const { name, version } of markers.files.all()) if (name === replaced) versions.push(version)
      assert.deepEqual(versions, ['2'])
    })
  }

  it('do not come back after a restart if their files were forgotten meanwhile', async () => {
    const markers = new StoredMarkers()
    await markers.start()
    await markers.store(['a'])
    await markers.store(namesFrom(0, maxMarkers + surplusBlock))
    await markers.transfers.idle()
    await markers.transfers.forget(wanted, fileOf().digest)
    for (let round = 0; round < 2; round++) {
      assert.equal(await markers.transfers.completed({ ...wanted, name: 'a' }), undefined)
      assert.ok(await markers.transfers.completed({ ...wanted, name: '0' }))
      await markers.start()
    }
  })
})
