import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { type MemoryStorage, memory } from '../../../lib/memory.ts'
import type { Random } from '../../../lib/ports/platform.ts'
import type { PartialFile } from '../../../lib/ports/storage.ts'
import { append } from '../../../lib/testing/storage/mailSteps.ts'
import { spec } from '../../support/spec.ts'
import { pass } from '../../support/turn.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

const platform = nodePlatform()
const always = (fraction: number): Random => ({ ...platform.random, fraction: () => fraction })
const bounds = {
  messages: 10,
  bytes: 1_000,
  allMessages: 10,
  allBytes: 1_000_000,
  receipts: 1_000,
  senderIds: 10,
  allIds: 10,
  sharePercent: 100,
  reserveBytes: 0,
}
const bytesOf = (text: string) => [new TextEncoder().encode(text)]

/** Claims an upload of twelve bytes and opens its partial file. */
async function claimed(storage: MemoryStorage, name = 'a'): Promise<PartialFile> {
  const want = { user: 'alice', name, size: 12, modifiedAt: 1, algorithm: 'sha256' } as const
  const owner = { node: 1, instance: 1, session: '0'.repeat(32) }
  const options = { fresh: false, takeOver: false, onConflict: 'replace', at: 0 } as const
  const result = await storage.transfers.claim(want, owner, options)
  assert.ok('claim' in result)
  return storage.files.open(result.claim)
}

async function textOf(file: PartialFile): Promise<string> {
  const bytes = new Uint8Array(file.length)
  await file.read(bytes, 0)
  return new TextDecoder().decode(bytes)
}

/** Returns a storage whose only upload has six flushed and six unflushed bytes. */
async function halfFlushed(): Promise<MemoryStorage> {
  const storage = memory()
  await storage.open(platform)
  const file = await claimed(storage)
  await file.write(0, bytesOf('flushe'))
  await file.flush()
  await file.write(6, bytesOf('buffer'))
  return storage
}

spec('a storage in memory that has crashed', (it) => {
  for (const [what, left, expected] of [
    ['all written bytes, if the process was killed', undefined, 'flushebuffer'],
    ['only the flushed bytes, if the power has failed', always(0), 'flushe'],
    ['the flushed bytes and some unflushed ones, if the power has failed', always(0.5), 'flushebuf'],
  ] as const) {
    it(`has ${what}`, async () => {
      const storage = (await halfFlushed()).crashed(left)
      await storage.open(platform)
      assert.equal(await textOf(await claimed(storage)), expected)
    })
  }

  it('has its published files, complete only if they were flushed', async () => {
    const storage = memory()
    await storage.open(platform)
    for (const name of ['flushed', 'not']) {
      const file = await claimed(storage, name)
      await file.write(0, bytesOf('twelve bytes'))
      if (name === 'flushed') await file.flush()
      assert.equal(await file.publish(name, false), true)
    }
    const left = storage.crashed(always(0))
    assert.equal(left.read('alice', 'flushed')?.length, 12)
    assert.equal(left.read('alice', 'not')?.length, 0)
  })

  it('has its messages', async () => {
    const storage = memory()
    await storage.open(platform)
    const message = { sender: 'ann', id: new Uint8Array(16), sentAt: 0, storedAt: 0, content: new Uint8Array(3) }
    await append(storage.mailboxes, message, ['ben'], bounds)
    const left = storage.crashed(always(0))
    await left.open(platform)
    assert.deepEqual(await left.mailboxes.levels(), [{ user: 'ben', messages: 1, bytes: 3 }])
  })

  it('is independent of later operations of the former storage', async () => {
    const storage = await halfFlushed()
    const left = storage.crashed()
    await storage.transfers.remove('alice', 'a')
    await storage.files.remove('alice', 'a')
    await left.open(platform)
    assert.equal(await textOf(await claimed(left)), 'flushebuffer')
  })
})

spec('a storage in memory with simulated latency', (it) => {
  it('executes an operation in the middle of its duration, and resolves at the end', async () => {
    const clock = new VirtualClock()
    const storage = memory({ operationMs: 8 })
    const opening = storage.open({ ...platform, clock, random: always(0.5) })
    await passing(clock, opening)
    const file = await passing(clock, claimed(storage))
    let isDone = false
    const writing = file.write(0, bytesOf('twelve bytes')).then(() => {
      isDone = true
    })
    await pass(clock, 1)
    assert.deepEqual([file.length, isDone], [0, false])
    await pass(clock, 1)
    assert.deepEqual([file.length, isDone], [12, false])
    await pass(clock, 2)
    assert.deepEqual([file.length, isDone], [12, true])
    await writing
  })
})

/** Lets time pass until `work` has settled. */
async function passing<T>(clock: VirtualClock, work: Promise<T>): Promise<T> {
  let isOver = false
  const over = work.finally(() => {
    isOver = true
  })
  while (!isOver) await pass(clock, 1)
  return over
}
