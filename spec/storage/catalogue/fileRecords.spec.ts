import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DiskFileRecords } from '../../../lib/adapters/disk/fileRecords.ts'
import { type FileRecords, MemoryFileRecords } from '../../../lib/storage/catalogue/fileRecords.ts'
import { spec } from '../../support/spec.ts'

const recordOf = (name: string, version: string) =>
  ({ user: 'alice', name, version, size: 5, modifiedAt: 1, algorithm: 'md5', digest: 'ab', metadata: {} }) as const

async function leftIn(records: FileRecords): Promise<readonly string[]> {
  const left: string[] = []
  for await (const { name, version } of records.all()) left.push(`${name} ${version}`)
  return left.sort()
}

async function withDisk(check: (records: FileRecords) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'ospd-records-'))
  const records = new DiskFileRecords(directory)
  try {
    await records.open()
    await check(records)
  } finally {
    await records.close()
    await rm(directory, { recursive: true })
  }
}

const stores: Record<string, (check: (records: FileRecords) => Promise<void>) => Promise<void>> = {
  memory: (check) => check(new MemoryFileRecords()),
  disk: withDisk,
}

for (const [store, using] of Object.entries(stores)) {
  spec(`the records of stored files in the ${store}`, (it) => {
    it('are removed for many names at once, except those of a kept version', () =>
      using(async (records) => {
        // More records of one name than are read at once, neighbours, and names that sort differently in UTF-8 and in UTF-16.
        const versions = Array.from({ length: 50 }, (_, at) => `${at}`)
        const names = ['a', 'a/b', 'ab', 'b', 'c', '\u{ff5e}', '\u{1f600}', 'z']
        await records.put(names.flatMap((name) => versions.map((version) => recordOf(name, version))))
        await records.prune([
          { user: 'alice', name: '\u{1f600}', version: '7' },
          { user: 'alice', name: '\u{ff5e}' },
          { user: 'alice', name: 'a', version: '3' },
          { user: 'alice', name: 'ab', version: 'none' },
          { user: 'alice', name: 'missing', version: '1' },
          { user: 'alice', name: 'b' },
          { user: 'alice', name: 'z', version: '49' },
          { user: 'bob', name: 'c' },
        ])
        const kept = ['a/b', 'c'].flatMap((name) => versions.map((version) => `${name} ${version}`))
        assert.deepEqual(await leftIn(records), ['a 3', '\u{1f600} 7', 'z 49', ...kept].sort())
        await records.prune([])
        const found = await records.get([recordOf('a', '3'), recordOf('a', '4'), recordOf('ab', '1')])
        assert.deepEqual(found, [recordOf('a', '3'), undefined, undefined])
      }))
  })
}
