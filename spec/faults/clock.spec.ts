import assert from 'node:assert/strict'
import { renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import type { Client } from '../../lib/client/client.ts'
import type { Upload } from '../../lib/client/uploads/upload.ts'
import { codeOf } from '../../lib/errors.ts'
import { KiB } from '../../lib/limits.ts'
import { deferred } from '../../lib/runtime/deferred.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { MortalServer } from '../support/mortalServer.ts'
import { pathOf, type Running, type StartOptions } from '../support/processes.ts'
import { RawClient } from '../support/rawClient.ts'
import { areOnline, Recipient } from '../support/recipients.ts'
import { spec } from '../support/spec.ts'
import { turns } from '../support/turns.ts'
import { until } from '../support/until.ts'

/** The wall clock of programs that a spec starts. */
interface WallClock {
  /** Options that start a program with this clock. */
  readonly options: StartOptions
  /** From now on the clock is ahead of the real one by this many ms, or behind. */
  set(aheadMs: number): void
}

/** `path` is the path of a file that is created for it. */
function wallClock(path: string): WallClock {
  const set = (aheadMs: number) => {
    // Renamed, so that no process reads an incomplete file.
    writeFileSync(`${path}.new`, `${aheadMs}`)
    renameSync(`${path}.new`, path)
  }
  set(0)
  const node = ['--import', 'tsx', '--import', pathOf('spec/support/jumpingClock.ts')]
  return { options: { node, env: { OSPD_SPEC_CLOCK: path } }, set }
}

const hourMs = 3_600_000
const dayMs = 24 * hourMs
const yearMs = 365 * dayMs
/** Longer than one counted jump, shorter than two. */
const ages = ['--upload-age', '90m', '--message-age', '90m']
const sizes = [
  '--chunk',
  '16K',
  '--window',
  '32K',
  '--checkpoint-size',
  '32K',
  '--checkpoint-time',
  '1h',
  '--small-file',
  '1',
]
const long = patterned(200_000)
const stored = patterned(50_000, 2)

interface Ground extends AsyncDisposable {
  readonly place: MortalServer
  readonly clock: WallClock
  /** Starts the daemon on this clock. */
  start(): Promise<Running>
}

async function ground(flags: readonly string[] = []): Promise<Ground> {
  const place = await MortalServer.in()
  const clock = wallClock(join(dirname(place.data), 'clock'))
  return {
    place,
    clock,
    start: () => place.daemon([...ages, ...sizes, ...flags], clock.options),
    [Symbol.asyncDispose]: () => place[Symbol.asyncDispose](),
  }
}

/** An upload that stops at its half until it is released. */
async function halfSent(client: Client, name: string): Promise<Disposable & { upload: Upload; go(): void }> {
  const source = memorySource(name, long)
  const held = deferred<void>()
  const half = 6 * 16 * KiB
  source.beforeRead = (offset) => (offset >= half ? held.promise : undefined)
  const upload = await client.upload(source)
  await until(upload, 'progress', () => upload.progress.acknowledged === half)
  const go = () => held.resolve()
  return { upload, go, [Symbol.dispose]: go }
}

async function sendsNothing(client: Client, name: string): Promise<void> {
  const upload = await client.upload(memorySource(name, stored))
  assert.equal((await upload.done).storedName, name)
  assert.equal(upload.transferred, 0)
}

/** Whether the server accepted this message now, by its clock, which is this many ms ahead of the real one. */
async function assertSentAt(received: ReadonlyMap<string, number>, text: string, aheadMs: number): Promise<void> {
  await turns(() => received.has(text))
  const offMs = (received.get(text) ?? 0) - Date.now() - aheadMs
  assert.ok(Math.abs(offMs) < 60_000, `it is ${offMs} ms off`)
}

/** Resolves with the reason for which the server ends this link, whatever it sends before. */
async function codeOfEnd(silent: RawClient): Promise<string> {
  for (;;) {
    const message = await silent.next()
    if (message.event === 'GoodbyeNtf') return codeOf(message.code)
    assert.equal(message.event, 'PingReq')
  }
}

/** Leaves waiting work behind: half a file of bob, and a message for dave. */
async function leaveBehind({ place }: Ground): Promise<void> {
  const [alice, bob] = [place.client(), place.client({ user: 'bob' })]
  using half = await halfSent(bob, 'half')
  await alice.send(['dave'], 'waits')
  const closed = [alice, bob].map((client) => client.close())
  half.go()
  await Promise.all(closed)
}

spec('a server whose wall clock jumps forward by a year, and back to the day before', (it) => {
  it('continues uploads and messages, keeps waiting messages, and knows the stored files; only its current time jumps', async () => {
    await using on = await ground()
    const { place, clock } = on
    await on.start()
    await leaveBehind(on)
    const [alice, bob] = [place.client(), place.client({ user: 'bob' })]
    const received = new Map<string, number>()
    bob.receive((message) => {
      received.set(message.text(), message.sentAt.getTime())
    })
    await areOnline(alice, ['bob'])
    await (await alice.upload(memorySource('stored', stored))).done
    using running = await halfSent(alice, 'running')
    const setbacks: unknown[] = []
    for (const client of [alice, bob]) client.on('status', (status, why) => status === 'waiting' && setbacks.push(why))
    for (const aheadMs of [yearMs, -dayMs]) {
      clock.set(aheadMs)
      await alice.send(['bob'], `at ${aheadMs}`)
      await assertSentAt(received, `at ${aheadMs}`, aheadMs)
      await sendsNothing(alice, 'stored')
    }
    running.go()
    await running.upload.done
    const half = await bob.upload(memorySource('half', long))
    await half.done
    assert.ok(half.transferred <= long.length / 2 + 32 * KiB, `${half.transferred} bytes were sent again`)
    const dave = new Recipient(place.client({ user: 'dave' }))
    await dave.got('waits')
    assert.deepEqual(setbacks, [], 'a link was lost')
    const files = { 'alice/stored': stored, 'alice/running': long, 'bob/half': long }
    assert.deepEqual(Object.fromEntries(await place.files()), files)
  })

  it('still ends a link that is silent for longer than the keep-alive interval, and no other link', async () => {
    await using on = await ground(['--keep-alive', '300ms'])
    const { place, clock } = on
    const server = await on.start()
    const [, port] = await server.printed(/ready on 127\.0\.0\.1:(\d+)/u)
    const alice = place.client()
    await alice.online()
    for (const aheadMs of [yearMs, -dayMs]) {
      const silent = await RawClient.dial(tcp({ port: Number(port) }))
      silent.hello({ user: 'carol' })
      await silent.expect('HelloAck')
      clock.set(aheadMs)
      assert.equal(await codeOfEnd(silent), 'timed-out')
    }
    assert.equal(alice.status, 'online')
  })
})

spec('a server that starts after its wall clock has jumped forward by a year', (it) => {
  it('counts each such jump as an hour; waiting work then continues, or has reached its age limit', async () => {
    await using on = await ground()
    const { place, clock } = on
    let server = await on.start()
    await leaveBehind(on)
    await (await place.client().upload(memorySource('stored', stored))).done
    for (const years of [1, 2]) {
      await server.kill('SIGTERM')
      clock.set(years * yearMs)
      server = await on.start()
      if (years === 1) assert.equal((await place.files('partial')).size, 1)
      await sendsNothing(place.client(), 'stored')
      assert.equal(/messages-expired/u.test(server.stderr), years === 2, server.stderr)
      assert.equal(/upload-expired/u.test(server.stderr), years === 2, server.stderr)
    }
    assert.equal((await place.files('partial')).size, 0)
  })
})
