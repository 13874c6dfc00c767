import assert from 'node:assert/strict'
import { constants, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { durableWrites, quickCalls } from '../../../lib/adapters/disk/quickCalls.ts'
import { spec } from '../../support/spec.ts'
import { temporaryDirectory } from '../../testing/storage/places.ts'

let startMs = 0

/** Runs `work` on a clock that `skipMs` sets forward, and of which each reading takes `eachMs`. It begins after former ones. */
async function onClock(work: (clock: { skipMs: number; eachMs: number }) => Promise<void>): Promise<void> {
  const { now } = performance
  startMs += 1_000_000
  const clock = { skipMs: startMs, eachMs: 0 }
  performance.now = () => {
    clock.skipMs += clock.eachMs
    return now.call(performance) + clock.skipMs
  }
  try {
    await work(clock)
  } finally {
    performance.now = now
  }
}

const isHere = () => !(quickCalls.statfs('/') instanceof Promise)

/** Every call once, with its results. */
async function everyCall(directory: string): Promise<unknown[]> {
  const [path, link] = [join(directory, 'a'), join(directory, 'b')]
  writeFileSync(path, 'hello')
  const fd = await quickCalls.open(path, constants.O_RDONLY)
  const into = new Uint8Array(4)
  const read = [await quickCalls.read(fd, into, 2), new TextDecoder().decode(into.subarray(0, 3))]
  const { ino } = await quickCalls.fstat(fd)
  await quickCalls.close(fd)
  await quickCalls.link(path, link)
  const stats = [await quickCalls.stat(path), await quickCalls.lstat(link)]
  await quickCalls.rename(link, join(directory, 'c'))
  await quickCalls.unlink(join(directory, 'c'))
  const created = await quickCalls.open(link, constants.O_CREAT | constants.O_WRONLY, 0o600)
  const { mode } = await quickCalls.fstat(created)
  await quickCalls.close(created)
  await quickCalls.unlink(link)
  const { type, bsize } = await quickCalls.statfs(directory)
  return [read, stats.map((each) => [each?.ino === ino, each?.size, each?.nlink]), mode & 0o777n, type, bsize]
}

/** The error codes of calls that fail. */
async function everyError(directory: string): Promise<unknown[]> {
  const [missing, other] = [join(directory, 'missing'), join(directory, 'other')]
  assert.equal(await quickCalls.lstat(missing), undefined)
  const calls: readonly (() => unknown)[] = [
    () => quickCalls.lstat(join(directory, 'a', 'below')),
    () => quickCalls.stat(missing),
    () => quickCalls.fstat(99_999),
    () => quickCalls.open(missing, constants.O_RDONLY),
    () => quickCalls.read(99_999, new Uint8Array(1), 0),
    () => quickCalls.write(99_999, [new Uint8Array(1)], 0),
    () => quickCalls.close(99_999),
    () => quickCalls.rename(missing, other),
    () => quickCalls.link(missing, other),
    () => quickCalls.unlink(missing),
    () => quickCalls.statfs(missing),
  ]
  const codes: unknown[] = []
  for (const call of calls) {
    const error = await (async () => call())().catch((reason: NodeJS.ErrnoException) => reason)
    codes.push([(error as NodeJS.ErrnoException).code, (error as NodeJS.ErrnoException).syscall])
  }
  return codes
}

spec('calls of the file system', (it) => {
  it('run in other threads for five seconds after they were slow, and then in this one', () =>
    onClock(async (clock) => {
      assert.ok(isHere())
      clock.eachMs = 2
      for (let calls = 0; isHere(); calls++) assert.ok(calls < 50)
      clock.eachMs = 0
      clock.skipMs += 4_000
      assert.ok(!isHere())
      clock.skipMs += 1_100
      assert.ok(isHere())
    }))

  it('run in other threads for twice as long if they soon become slow again', () =>
    onClock(async (clock) => {
      const becomeSlow = () => {
        clock.eachMs = 2
        for (let calls = 0; isHere(); calls++) assert.ok(calls < 50)
        clock.eachMs = 0
      }
      becomeSlow()
      clock.skipMs += 5_100
      becomeSlow()
      clock.skipMs += 9_000
      assert.ok(!isHere())
      clock.skipMs += 1_100
      assert.ok(isHere())
      clock.skipMs += 20_000
      becomeSlow()
      clock.skipMs += 5_100
      assert.ok(isHere())
    }))

  it('stay in this thread after one call that took long, as when another process ran', () =>
    onClock(async (clock) => {
      clock.eachMs = 60_000
      assert.ok(isHere())
      clock.eachMs = 0
      for (let calls = 0; calls < 100; calls++) assert.ok(isHere())
    }))

  it('have the same results and the same errors in this thread and in others', () =>
    onClock(async (clock) => {
      await using directory = await temporaryDirectory()
      assert.ok(isHere())
      const here = [await everyCall(directory.path), await everyError(directory.path)]
      clock.eachMs = 2
      while (isHere());
      clock.eachMs = 0
      const elsewhere = [await everyCall(directory.path), await everyError(directory.path)]
      assert.ok(!isHere())
      assert.deepEqual(elsewhere, here)
      const [[, size] = []] = (here[0]?.[1] ?? []) as bigint[][]
      assert.deepEqual([here[0]?.[0], size, here[1]?.[0]], [[3, 'llo'], 5n, ['ENOTDIR', 'lstat']])
    }))
})

spec('durable writes', (it) => {
  /** Creates a file. Resolves with a function that returns whether an append of this length runs in this thread. */
  async function writer(directory: string): Promise<(length: number) => Promise<boolean>> {
    const { O_CREAT, O_WRONLY, O_APPEND } = constants
    const fd = await quickCalls.open(join(directory, 'written'), O_CREAT | O_WRONLY | O_APPEND | durableWrites, 0o600)
    return async (length) => {
      const written = quickCalls.write(fd, [new Uint8Array(length)])
      assert.equal(await written, length)
      return !(written instanceof Promise)
    }
  }

  it('run in other threads for five seconds after four of them waited for the device', () =>
    onClock(async (clock) => {
      await using directory = await temporaryDirectory()
      const isHere = await writer(directory.path)
      clock.eachMs = 2
      for (let calls = 0; calls < 4; calls++) assert.ok(await isHere(1))
      assert.ok(!(await isHere(1)))
      clock.eachMs = 0
      clock.skipMs += 4_000
      assert.ok(!(await isHere(1)))
      clock.skipMs += 1_100
      assert.ok(await isHere(1))
    }))

  it('run in other threads if they are long', () =>
    onClock(async () => {
      await using directory = await temporaryDirectory()
      const isHere = await writer(directory.path)
      assert.deepEqual([await isHere(65_536), await isHere(65_537)], [true, false])
    }))
})
