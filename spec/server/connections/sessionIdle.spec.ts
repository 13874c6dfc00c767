import assert from 'node:assert/strict'
import { defaultLimits } from '../../../lib/limits.ts'
import { patterned } from '../../support/memorySource.ts'
import { heldRig, MessageClient } from '../../support/messageClient.ts'
import type { RawClient } from '../../support/rawClient.ts'
import { spec } from '../../support/spec.ts'
import { pass } from '../../support/turn.ts'

const minuteMs = 60_000
const limits = { idleMs: 10 * minuteMs, keepAliveMs: 2 * minuteMs }

type Rig = Awaited<ReturnType<typeof heldRig>>

/** Lets minutes pass in which a link says pings. */
async function pingFor(rig: Rig, raw: RawClient, minutes: number): Promise<void> {
  for (let minute = 0; minute < minutes; minute++) {
    raw.send('PingReq', {})
    await pass(rig.clock, minuteMs)
  }
}

/** Reads on to the GOODBYE, which is of this code. */
async function closedWith(raw: RawClient): Promise<string> {
  for (;;) {
    const message = await raw.next()
    if (message.event !== 'GoodbyeNtf') continue
    assert.equal(message.code, 30)
    return message.text
  }
}

spec('a link that sends only pings and holds nothing', (it) => {
  it('is closed as timed-out after its time', async () => {
    await using rig = await heldRig(limits)
    const { raw } = await rig.client()
    await pingFor(rig, raw, 9)
    assert.equal(rig.server.status().links, 1)
    await pingFor(rig, raw, 1)
    assert.equal(await closedWith(raw), 'the link sent no request for 600 s and has no upload and no registration')
    assert.equal(rig.server.status().links, 0)
  })

  it('has an hour by default', () => {
    assert.equal(defaultLimits.idleMs, 3_600_000)
  })

  it('has its full time again after each request', async () => {
    await using rig = await heldRig(limits)
    const { raw } = await rig.client()
    for (let times = 0; times < 3; times++) {
      await pingFor(rig, raw, 9)
      raw.send('ListReq', {})
    }
    assert.equal(rig.server.status().links, 1)
    await pingFor(rig, raw, 10)
    await closedWith(raw)
  })

  it('is not closed while it holds an upload, but afterwards', async () => {
    await using rig = await heldRig(limits)
    const client = await rig.client()
    const { instance } = await client.start({ name: 'a', bytes: patterned(100) })
    await pingFor(rig, client.raw, 35)
    assert.equal(rig.server.status().links, 1)
    client.sendPause(instance)
    await pingFor(rig, client.raw, 11)
    await closedWith(client.raw)
  })

  it('is not closed while it listens for messages, but if it neither listens nor sends requests', async () => {
    await using rig = await heldRig(limits)
    const listening = await MessageClient.listen(rig, 'alice')
    const sending = await MessageClient.enter(rig, 'bob')
    await sending.regist(0)
    for (let minute = 0; minute < 35; minute++) {
      listening.raw.send('PingReq', {})
      if (minute < 10) sending.raw.send('PingReq', {})
      await pass(rig.clock, minuteMs)
    }
    assert.deepEqual(rig.server.status().users, ['alice'])
    await closedWith(sending.raw)
  })

  it('leaves no alarm if it ends before', async () => {
    await using rig = await heldRig(limits)
    const alarms = rig.clock.set.length
    const { raw } = await rig.client()
    await raw.vanish()
    await pass(rig.clock, 5_000)
    assert.equal(rig.clock.set.length, alarms)
  })
})
