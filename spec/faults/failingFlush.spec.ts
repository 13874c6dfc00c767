import assert from 'node:assert/strict'
import { open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { layoutOf } from '../../lib/adapters/disk/layout.ts'
import type { Progress, Upload } from '../../lib/client/uploads/upload.ts'
import { KiB } from '../../lib/limits.ts'
import type { Storage } from '../../lib/ports/storage.ts'
import { type MemorySource, memorySource, patterned } from '../support/memorySource.ts'
import { MortalServer } from '../support/mortalServer.ts'
import { spec } from '../support/spec.ts'
import { stepped } from '../support/steppedStorage.ts'
import { canInject, injecting } from '../support/strace.ts'
import { turn } from '../support/turn.ts'
import { until } from '../support/until.ts'

/** A storage in a directory whose flushes of one partial file can fail. */
interface ForgetfulDisk {
  readonly storage: Storage
  /** Leading bytes of the file that a flush has covered. */
  readonly flushed: number
  /** Number of failed flushes, and number of bytes that they lost. */
  readonly failures: number
  /** Number of ended flushes. */
  readonly flushes: number
  readonly lost: number
}

/**
 * Makes each flush fail for whose number, from 1, `fails` returns true. The data that it should have flushed is lost,
 * as Linux drops the pages that it could not write: the next flush succeeds.
 */
function forgetfulDisk(data: string, user: string, name: string, fails: (nth: number) => boolean): ForgetfulDisk {
  const path = layoutOf(data).partialOf(user, name)
  const self = { flushed: 0, failures: 0, flushes: 0, lost: 0 }
  let count = 0
  const storage = stepped(disk(data), async (step, run) => {
    if (step === 'truncate') {
      const result = await run()
      self.flushed = Math.min(self.flushed, (await stat(path)).size)
      return result
    }
    if (step !== 'flush') return run()
    const { size } = await stat(path)
    if (fails(++count)) {
      self.failures++
      self.lost += size - self.flushed
      await forget(path, self.flushed, size)
      self.flushes++
      throw new Error('EIO: i/o error, fdatasync')
    }
    const result = await run()
    self.flushed = size
    self.flushes++
    return result
  })
  return {
    storage,
    get flushed() {
      return self.flushed
    },
    get failures() {
      return self.failures
    },
    get flushes() {
      return self.flushes
    },
    get lost() {
      return self.lost
    },
  }
}

async function forget(path: string, from: number, to: number): Promise<void> {
  const handle = await open(path, 'r+')
  try {
    await handle.write(new Uint8Array(to - from), 0, to - from, from)
  } finally {
    await handle.close()
  }
}

const limits = {
  chunkBytes: 4 * KiB,
  windowBytes: 16 * KiB,
  checkpointBytes: 8 * KiB,
  checkpointMs: 3_600_000,
  retryAfterMs: 1,
  smallFileBytes: 0,
}
const flags = [
  '--chunk',
  '4K',
  '--window',
  '16K',
  '--checkpoint-size',
  '8K',
  '--checkpoint-time',
  '1h',
  '--small-file',
  '1',
]

const long = patterned(300_000)
/** Short enough not to be flushed before it is complete. */
const short = patterned(5_000, 2)

interface Watched {
  readonly upload: Upload
  readonly seen: readonly Progress[]
  readonly whys: ReadonlySet<string | undefined>
  readonly successes: () => number
}

type Told = (progress: Progress) => void

/** Sends `a`, and records all progress that the client receives; `told` is called at each progress. */
async function send(place: MortalServer, source: MemorySource, told: Told = () => {}) {
  const client = place.client()
  const upload = await client.upload(source)
  const seen: Progress[] = []
  const whys = new Set<string | undefined>()
  let successes = 0
  upload.on('progress', (progress) => {
    seen.push(progress)
    told(progress)
  })
  upload.on('phase', (phase) => {
    if (phase === 'waiting') whys.add(upload.error?.code)
    if (phase === 'done') successes++
  })
  const watched: Watched = { upload, seen, whys, successes: () => successes }
  return { client, ...watched }
}

const falls = ({ seen }: Watched) =>
  seen.some(({ acknowledged }, at) => acknowledged < (seen[at - 1]?.acknowledged ?? 0))

async function assertStored(place: MortalServer, bytes: Uint8Array): Promise<void> {
  assert.deepEqual(await place.files(), new Map([['alice/a', bytes]]))
  assert.deepEqual(await place.files('partial'), new Map())
  assert.deepEqual(await place.records(), [])
}

/** Checks that the client receives no durable offset that no flush has covered, and the full size at the end. */
function assertHonest(disk: ForgetfulDisk, { durable, size }: Progress): void {
  if (durable < size)
    assert.ok(durable <= disk.flushed, `${durable} bytes are reported as durable, not ${disk.flushed}`)
}

const forgetting = (bytes: Uint8Array, fails: (nth: number) => boolean) => async () => {
  await using place = await MortalServer.in()
  const disk = forgetfulDisk(place.data, 'alice', 'a', fails)
  const server = await place.serve({ storage: disk.storage, limits })
  const errors: unknown[] = []
  const source = memorySource('a', bytes)
  // There is a flush every 32 KiB, however slow the disk is: one that should fail does so before the end.
  source.beforeRead = async (offset) => {
    while (disk.flushes < Math.floor(offset / (32 * KiB))) await turn()
  }
  const sending = await send(place, source, (progress) => {
    try {
      assertHonest(disk, progress)
    } catch (error) {
      errors.push(error)
    }
  })
  await sending.upload.done
  await sending.client.close()
  await server.close()
  assert.deepEqual(errors, [])
  assert.ok(disk.failures > 0, 'no flush has failed')
  assert.deepEqual([...sending.whys], ['internal'])
  assert.ok(falls(sending) || disk.lost === 0, 'what was lost was not sent again')
  assert.equal(sending.successes(), 1)
  await assertStored(place, bytes)
}

spec('a failed flush that loses its data has no other consequence', (it) => {
  it(
    'at the first checkpoint',
    forgetting(long, (nth) => nth === 1),
  )
  it(
    'at a later checkpoint',
    forgetting(long, (nth) => nth === 3),
  )
  it(
    'at several in a row',
    forgetting(long, (nth) => nth >= 2 && nth <= 5),
  )
  it(
    'every other time',
    forgetting(long, (nth) => nth % 2 === 0),
  )
  it(
    'at the end',
    forgetting(short, (nth) => nth === 1),
  )
  it(
    'at the end, again and again',
    forgetting(short, (nth) => nth <= 4),
  )

  it('at a clean stop, after which the upload continues at the last checkpoint', async () => {
    await using place = await MortalServer.in()
    let failing = false
    const disk = forgetfulDisk(place.data, 'alice', 'a', () => failing)
    const server = await place.serve({ storage: disk.storage, limits })
    const source = memorySource('a', long)
    const client = place.client()
    // Data after the first 20 KiB waits until the server has stopped.
    let stopped = () => {}
    const stop = new Promise<void>((resolve) => {
      stopped = resolve
    })
    source.beforeRead = (offset) => (offset >= 20 * KiB ? stop : undefined)
    const upload = await client.upload(source)
    await until(upload, 'progress', () => upload.progress.acknowledged === 20 * KiB)
    failing = true
    await server.close()
    assert.ok(disk.failures > 0 && disk.flushed < 20 * KiB, 'the stop has flushed nothing')
    const restarted = await place.serve({ limits })
    stopped()
    await upload.done
    await client.close()
    await restarted.close()
    await assertStored(place, long)
  })

  it('permanently: the upload fails in the end, and nothing is published', async () => {
    await using place = await MortalServer.in()
    const disk = forgetfulDisk(place.data, 'alice', 'a', () => true)
    const server = await place.serve({ storage: disk.storage, limits })
    const client = place.client({ retryForMs: 200 })
    const upload = await client.upload(memorySource('a', short))
    await assert.rejects(upload.done, { code: 'internal' })
    assert.equal(upload.progress.durable, 0)
    await client.close()
    await server.close()
    assert.deepEqual(await place.files(), new Map())
    assert.equal((await place.records()).length, 1)
  })
})

/** Too long for one request on a new link. */
const unflushed = patterned(40_000, 2)

/** Runs the daemon with a disk whose faults are real; the upload waits until they end. */
const failing =
  (calls: string, paths: (data: string) => readonly string[], when: string, bytes = long) =>
  async () => {
    await using place = await MortalServer.in()
    const fault = { calls, fault: 'error=EIO', when, paths: paths(place.data) }
    const checkpoints = bytes === unflushed ? ['--checkpoint-size', '1M'] : []
    const server = await place.daemon([...flags, ...checkpoints], injecting(fault))
    const sending = await send(place, memorySource('a', bytes))
    await sending.upload.done
    await sending.client.close()
    await server.kill('SIGTERM')
    assert.equal(sending.successes(), 1)
    assert.deepEqual([...sending.whys], ['internal'])
    assert.match(server.stderr, /error/u)
    await assertStored(place, bytes)
  }

const partial = (data: string) => [layoutOf(data).partialOf('alice', 'a')]
const folder = (name: string) => (data: string) => [join(data, name)]
/** After a failed write, the journal of uploads continues in another file, and writes its header first. */
const logs = (data: string) => [1, 2, 3, 4].map((number) => join(data, `uploads/0000000${number}.log`))

spec('an upload waits if a system call fails during a flush', (it) => {
  if (!canInject) return it.skip('of any kind', 'strace is missing, or may not trace here')

  it('of the partial file', failing('fdatasync', partial, '1'))
  it('of the partial file, several times in a row', failing('fdatasync', partial, '2..3'))
  it('of the whole file', failing('fdatasync', partial, '1', unflushed))
  it("of the partial file's folder", failing('fsync', folder('partial'), '1'))
  it('of the folder of a user', failing('fsync', folder('files'), '1'))
  it('of the folder of the published file', failing('fsync', folder('files/alice'), '1'))
  it('of the header of the records', failing('pwrite64', logs, '1'))
  it('of the record of a claim', failing('pwrite64', logs, '2'))
  it('of the record of a checkpoint', failing('pwrite64', logs, '3'))
  it('of the record of a verified file', failing('pwrite64', logs, '3', unflushed))
  it('of the completion marker', failing('pwrite64', logs, '4', unflushed))

  it('but not longer than the client may wait: nothing is published', async () => {
    await using place = await MortalServer.in()
    const fault = { calls: 'fdatasync', fault: 'error=EIO', when: '1+', paths: partial(place.data) }
    const server = await place.daemon(flags, injecting(fault))
    const client = place.client({ retryForMs: 500 })
    const upload = await client.upload(memorySource('a', long))
    let durable = 0
    upload.on('progress', (progress) => {
      durable = Math.max(durable, progress.durable)
    })
    await assert.rejects(upload.done, { code: 'internal' })
    assert.equal(durable, 0)
    await client.close()
    await server.kill('SIGTERM')
    assert.deepEqual(await place.files(), new Map())
  })
})
