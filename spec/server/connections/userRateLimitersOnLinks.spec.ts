import assert from 'node:assert/strict'
import { memoryTransport } from '../../../lib/adapters/memory/memoryTransport.ts'
import { RunningClient } from '../../../lib/client/runningClient.ts'
import { KiB } from '../../../lib/limits.ts'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { heldRig } from '../../support/messageClient.ts'
import type { RawClient } from '../../support/rawClient.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

type Rig = Awaited<ReturnType<typeof heldRig>>

/** Asks so much at once. */
async function ask(raw: RawClient, count: number): Promise<void> {
  for (let times = 0; times < count; times++) raw.send('ListReq', {})
  await turn()
}

const answered = (raw: RawClient) => raw.unread.filter((event) => event === 'ListAck').length
const slowed = (rig: Rig) => rig.log.filter(({ event }) => event === 'user-slowed')

spec('a user who exceeds the frames per second', (it) => {
  it('is read again after the excess has been waited out, and every request is answered', async () => {
    await using rig = await heldRig({ framesPerSecond: 10 })
    const { raw } = await rig.client()
    // Two turns, since what is under way is told although the link is not read any more.
    await ask(raw, 11)
    await ask(raw, 10)
    assert.equal(answered(raw), 11)
    await pass(rig.clock, 199)
    assert.equal(answered(raw), 11)
    await pass(rig.clock, 1)
    assert.equal(answered(raw), 13)
    for (let times = 0; times < 4; times++) await pass(rig.clock, 200)
    assert.equal(answered(raw), 21)
  })

  it('is slowed on all links, and no other user is', async () => {
    await using rig = await heldRig({ framesPerSecond: 10 })
    const [one, other] = [await rig.client({ session: 'one' }), await rig.client({ session: 'other' })]
    const bob = await rig.client({ user: 'bob' })
    await ask(one.raw, 11)
    for (const { raw } of [one, other, bob]) {
      // The first one by which it is found that no more is to be read.
      await ask(raw, 1)
      await ask(raw, 5)
    }
    assert.deepEqual(
      [one, other, bob].map(({ raw }) => answered(raw)),
      [11, 1, 6],
    )
  })

  it('is logged once a minute', async () => {
    await using rig = await heldRig({ framesPerSecond: 10 })
    const { raw } = await rig.client()
    for (let second = 0; second < 59; second++) {
      await ask(raw, 20)
      await pass(rig.clock, 1_000)
    }
    assert.deepEqual(
      slowed(rig).map(({ user, code, text }) => [user, code, text]),
      [['alice', 'rate-limited', 'the links of this user are read at up to 10 frames and 2147483648 bytes per second']],
    )
    await pass(rig.clock, 1_000)
    await ask(raw, 20)
    assert.equal(slowed(rig).length, 2)
  })

  it('gains nothing from a new link', async () => {
    await using rig = await heldRig({ framesPerSecond: 10 })
    const first = await rig.client({ session: 'first' })
    await ask(first.raw, 100)
    await first.raw.vanish()
    await turn()
    const second = await rig.client({ session: 'second' })
    await ask(second.raw, 1)
    await ask(second.raw, 5)
    assert.deepEqual([answered(second.raw), slowed(rig).length], [1, 1])
  })

  it('keeps the link, since both sides keep its keep-alive interval, however long it continues', async () => {
    const to = memoryTransport()
    await using rig = await heldRig({ framesPerSecond: 1, keepAliveMs: 1_000 }, { listen: to })
    const client = new RunningClient({ to, user: 'alice', platform: rig.platform, software: 'spec' })
    await client.online()
    const lost: unknown[] = []
    client.on('status', (_, why) => lost.push(why))
    const { done: finished } = await client.upload(memorySource('a', patterned(100)))
    let stored = false
    finished.then(() => {
      stored = true
    })
    for (let tenth = 0; tenth < 600 || !stored; tenth++) await pass(rig.clock, 100)
    assert.deepEqual([lost, slowed(rig).length > 0], [[], true])
    const closed = client.close()
    for (let second = 0; second < 5; second++) await pass(rig.clock, 1_000)
    await closed
  })
})

spec('a user who exceeds the bytes per second', (it) => {
  it('is slowed likewise', async () => {
    await using rig = await heldRig({ bytesPerSecond: 64 * KiB })
    const client = await rig.client()
    const { instance } = await client.start({ name: 'a', bytes: patterned(256 * KiB) })
    for (let part = 0; part < 4; part++) {
      client.sendChunk(instance, part * 40 * KiB, patterned(40 * KiB))
      await turn()
    }
    const acks = () => client.raw.unread.filter((event) => event === 'PostFileAck').length
    assert.equal(acks(), 2)
    await pass(rig.clock, 400)
    assert.equal(acks(), 3)
    await pass(rig.clock, 1_000)
    assert.equal(acks(), 4)
  })
})

spec('a link that is slowed and has too many bytes in progress', (it) => {
  it('is read again only after both reasons have ended', async () => {
    for (const first of ['written', 'rested'] as const) {
      await using rig = await heldRig({ bytesPerSecond: 64 * KiB, chunkMemoryBytes: 128 * KiB })
      const client = await rig.client()
      const { instance, chunk } = await client.start({ name: 'a', bytes: patterned(512 * KiB) })
      const write = rig.storage.hold('write')
      client.sendChunk(instance, 0, patterned(chunk))
      await write.reached
      await turn()
      client.raw.send('PingReq', {})
      await turn()
      if (first === 'written') write.go()
      else await pass(rig.clock, 15_000)
      await turn()
      assert.ok(!client.raw.unread.includes('PingAck'), first)
      if (first === 'written') await pass(rig.clock, 15_000)
      else write.go()
      await turn()
      assert.ok(client.raw.unread.includes('PingAck'), first)
    }
  })
})

spec('a user whose requests exceed the processing time per second', (it) => {
  const cancel = async (raw: RawClient, count: number) => {
    for (let at = 0; at < count; at++) raw.send('CancelFileReq', { fileName: `missing-${at}` })
    await turn()
  }
  const done = (raw: RawClient) => raw.unread.filter((event) => event === 'CancelFileAck').length

  it('waits, and gets every reply; requests of other users do not wait', async () => {
    await using rig = await heldRig({ workMsPerSecond: 100 })
    const [alice, bob] = [await rig.client(), await rig.client({ user: 'bob' })]
    await cancel(alice.raw, 200)
    const atOnce = done(alice.raw)
    assert.ok(atOnce < 200, `${atOnce} answers at once`)
    await ask(bob.raw, 5)
    assert.equal(answered(bob.raw), 5)
    for (let second = 0; second < 60 && done(alice.raw) < 200; second++) await pass(rig.clock, 1_000)
    assert.equal(done(alice.raw), 200)
  })

  it('waits after the registrations per second, whatever they cost', async () => {
    await using rig = await heldRig({ registrationsPerSecond: 5 })
    const { raw } = await rig.client()
    const registrations = () => raw.unread.filter((event) => event === 'RegistAck').length
    for (let at = 0; at < 20; at++) raw.send('RegistReq', { userName: 'alice', flags: at % 2 })
    await turn()
    const atOnce = registrations()
    assert.ok(atOnce < 20, `${atOnce} answers at once`)
    for (let second = 0; second < 10 && registrations() < 20; second++) await pass(rig.clock, 1_000)
    assert.equal(registrations(), 20)
  })
})
