import assert from 'node:assert/strict'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { patterned } from '../../support/memorySource.ts'
import { MessageClient } from '../../support/messageClient.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { SwitchableAuthenticator } from '../../support/switchableAuthenticator.ts'
import { turn } from '../../support/turn.ts'

const file = { name: 'a', bytes: patterned(1_000) }

/** A server with somebody at its door. */
async function guarded(limits: Parameters<typeof ServerRig.start>[0] = {}) {
  const gate = new SwitchableAuthenticator()
  const rig = await ServerRig.start(limits, { authenticator: gate })
  return { gate, rig, [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose]() }
}

spec('a user whose access has changed', (it) => {
  it('receives the reason, and all links of the user end, but no others', async () => {
    await using here = await guarded()
    const [one, two] = [await here.rig.client({ session: 'one' }), await here.rig.client({ session: 'two' })]
    const bob = await here.rig.client({ session: 'three', user: 'bob' })
    here.gate.reportChange('alice')
    for (const { raw } of [one, two]) {
      const { text, retryAfter } = await raw.dismissed('unauthorized')
      assert.equal(text, 'alice was removed from the server, or has a new token')
      assert.equal(retryAfter, 0)
    }
    bob.raw.send('PingReq', {})
    await bob.raw.expect('PingAck')
    assert.deepEqual(here.rig.server.status().users, ['bob'])
  })

  it('leaves the online list, and messages wait', async () => {
    await using here = await guarded()
    const { rig } = here
    const [bob, alice] = [await MessageClient.listen(rig, 'bob'), await MessageClient.listen(rig, 'alice')]
    assert.deepEqual(await bob.post(1, ['alice'], 'hello'), ['alice online'])
    here.gate.reportChange('alice')
    await turn()
    assert.deepEqual(
      rig.server.status().online.map(({ user }) => user),
      ['bob'],
    )
    assert.deepEqual(await bob.post(2, ['alice'], 'hello'), ['alice stored'])
    assert.deepEqual(
      (await rig.server.mailboxes()).map(({ user }) => user),
      ['alice'],
    )
    assert.ok(alice.raw.unread.includes('GoodbyeNtf'))
  })

  it('releases the instance of an upload, which continues at its progress after the user logs in again', async () => {
    await using here = await guarded({ fileInstances: 1 })
    const alice = await here.rig.client()
    const { instance } = await alice.start(file)
    await alice.chunk(instance, 0, file.bytes.subarray(0, 400))
    here.gate.reportChange('alice')
    await alice.raw.dismissed('unauthorized')
    assert.deepEqual(here.rig.server.status().uploads, [])
    const bob = await here.rig.client({ user: 'bob' })
    await bob.upload({ name: 'b', bytes: file.bytes })
    const again = await here.rig.client()
    assert.equal((await again.continue(file)).progress, 400)
  })

  it('can be every user', async () => {
    await using here = await guarded()
    const clients = [await here.rig.client({ user: 'alice' }), await here.rig.client({ user: 'bob' })]
    here.gate.reportChange(undefined)
    for (const { raw } of clients) {
      assert.match((await raw.dismissed('unauthorized')).text, /^access to this server has changed/u)
    }
    assert.equal(here.rig.server.status().links, 0)
  })
})

spec('a link that logs in while an access changes', (it) => {
  it('is not admitted by the former access', async () => {
    await using here = await guarded()
    const [asked, answer] = [deferred<void>(), deferred<void>()]
    here.gate.accepted = () => {
      here.gate.accepted = () => {}
      // Between the answer and the server that hears it.
      here.gate.barred.add('alice')
      here.gate.reportChange('alice')
    }
    here.gate.asked = () => {
      asked.resolve()
      return answer.promise
    }
    const raw = await here.rig.dial()
    raw.hello()
    await asked.promise
    answer.resolve()
    await raw.refused('HelloNack', 'unauthorized')
    await raw.closed
    assert.equal(here.rig.server.status().links, 0)
  })

  for (let turns = 0; turns < 12; turns++) {
    it(`is admitted or refused ${turns} turns after the answer, but not admitted once the change is known`, async () => {
      await using here = await guarded()
      here.gate.accepted = async () => {
        here.gate.accepted = () => {}
        for (let turn = 0; turn < turns; turn++) await undefined
        here.gate.barred.add('alice')
        here.gate.reportChange('alice')
      }
      const raw = await here.rig.dial()
      raw.hello()
      await raw.closed
      assert.equal(here.rig.server.status().links, 0)
      assert.ok(raw.unread.some((event) => event === 'HelloNack' || event === 'GoodbyeNtf'))
    })
  }

  it('is admitted by the present access', async () => {
    await using here = await guarded()
    let asked = 0
    here.gate.asked = (user) => {
      asked++
      // An authenticator tells of what it finds changed before it answers by it.
      if (asked === 1) here.gate.reportChange(user)
    }
    const raw = await here.rig.dial()
    raw.hello()
    await raw.expect('HelloAck')
    assert.equal(asked, 2)
    assert.equal(here.rig.server.status().links, 1)
  })

  it('is admitted if the access of another user changes', async () => {
    await using here = await guarded()
    here.gate.accepted = () => {
      here.gate.accepted = () => {}
      here.gate.reportChange('bob')
    }
    const raw = await here.rig.dial()
    raw.hello()
    await raw.expect('HelloAck')
  })
})

spec('a server', (it) => {
  it('watches its authenticator until it is closed', async () => {
    await using here = await guarded()
    assert.equal(here.gate.watchers.size, 1)
    await here.rig.server.close()
    assert.equal(here.gate.watchers.size, 0)
  })
})
