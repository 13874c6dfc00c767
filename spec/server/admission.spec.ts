import assert from 'node:assert/strict'
import { heldRig } from '../support/messageClient.ts'
import type { RawClient } from '../support/rawClient.ts'
import type { ServerRig } from '../support/serverRig.ts'
import { spec } from '../support/spec.ts'
import { pass, turn } from '../support/turn.ts'

/** A link that has said HELLO, and in how many ms it is to come back: 0 if it was let in. */
async function knock(rig: ServerRig, session: string): Promise<{ raw: RawClient; retryAfter: number }> {
  const raw = await rig.dial()
  raw.hello({ session })
  await turn()
  if (raw.unread[0] === 'HelloAck') {
    await raw.next()
    return { raw, retryAfter: 0 }
  }
  const { retryAfter } = await raw.refused('HelloNack', 'rate-limited')
  await raw.closed
  return { raw, retryAfter }
}

async function crowd(rig: ServerRig, count: number): Promise<number[]> {
  const told: number[] = []
  for (let at = 0; at < count; at++) told.push((await knock(rig, `session ${at}`)).retryAfter)
  return told
}

spec('a crowd of clients', (it) => {
  it('is let in one after another: each is told to come back later than the one before, and its link ends', async () => {
    await using rig = await heldRig({ hellosPerSecond: 4 })
    assert.deepEqual(await crowd(rig, 8), [0, 0, 0, 0, 250, 500, 750, 1_000])
    assert.equal(rig.server.status().links, 4)
  })

  it('has got in when each came back at its time', async () => {
    await using rig = await heldRig({ hellosPerSecond: 4 })
    const told = await crowd(rig, 12)
    let now = 0
    for (const [at, retryAfter] of told.entries()) {
      if (retryAfter === 0) continue
      await pass(rig.clock, retryAfter - now)
      now = retryAfter
      assert.equal((await knock(rig, `session ${at}`)).retryAfter, 0)
    }
    assert.equal(rig.server.status().links, 12)
  })

  it('is turned away before anybody is asked who they are', async () => {
    let asked = 0
    const authenticator = {
      authenticate: async ({ user }: { user: string }) => {
        asked++
        return { user }
      },
      knows: async () => true,
    }
    await using rig = await heldRig({ hellosPerSecond: 2 }, { authenticator })
    await crowd(rig, 6)
    assert.equal(asked, 2)
  })

  it('does not end the link of a session that comes back too early', async () => {
    await using rig = await heldRig({ hellosPerSecond: 1 })
    const { raw } = await knock(rig, 'same')
    assert.ok((await knock(rig, 'same')).retryAfter > 0)
    raw.send('PingReq', {})
    await raw.expect('PingAck')
  })

  it('of two hundred a second is let in at once where nothing else is set', async () => {
    await using rig = await heldRig()
    const told = await crowd(rig, 202)
    assert.deepEqual(told.slice(199), [0, 5, 10])
  })
})
