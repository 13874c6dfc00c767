import assert from 'node:assert/strict'
import { defaultLimits } from '../../../lib/limits.ts'
import type { FileClient } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'

const bytes = patterned(100)
const { retryAfterMs } = defaultLimits

/** Links of one user, each with this many uploads under way. */
async function sending(rig: ServerRig, ...counts: readonly number[]): Promise<FileClient[]> {
  const clients: FileClient[] = []
  for (const [at, count] of counts.entries()) {
    const client = await rig.client({ session: `${at}` })
    for (let number = 0; number < count; number++) await client.start({ name: `${at}/${number}`, bytes })
    clients.push(client)
  }
  return clients
}

spec('the uploads of one user', (it) => {
  it('are limited over all links: one too many is refused with its own random retry time', async () => {
    await using rig = await ServerRig.start({ uploadsPerUser: 4 })
    const [, , third] = await sending(rig, 2, 2, 0)
    const told = []
    for (let times = 0; times < 3; times++) {
      told.push(await third?.startRefused({ name: 'more', bytes }, 'too-many-uploads'))
    }
    for (const nack of told) {
      assert.match(nack?.text ?? '', /alice already sends 4 files, the maximum for one user/u)
      assert.ok(nack && nack.retryAfter >= retryAfterMs && nack.retryAfter <= 2 * retryAfterMs)
    }
    assert.equal(new Set(told.map((nack) => nack?.retryAfter)).size, 3)
  })

  it('do not count for another user', async () => {
    await using rig = await ServerRig.start({ uploadsPerUser: 2 })
    await sending(rig, 2)
    const bob = await rig.client({ user: 'bob' })
    await bob.start({ name: 'his', bytes })
  })

  it('are possible again after one has ended', async () => {
    await using rig = await ServerRig.start({ uploadsPerUser: 2 })
    const [first, second] = await sending(rig, 2, 0)
    await first?.raw.vanish()
    await second?.start({ name: 'now', bytes })
  })

  it('can move from link to link at the limit', async () => {
    await using rig = await ServerRig.start({ uploadsPerUser: 2 })
    const [, second] = await sending(rig, 2, 0)
    await second?.continue({ name: '0/0', bytes })
    await second?.startRefused({ name: 'more', bytes }, 'too-many-uploads')
  })

  it('are at most a hundred by default', () => {
    assert.equal(defaultLimits.uploadsPerUser, 100)
  })
})
