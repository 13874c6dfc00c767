import assert from 'node:assert/strict'
import { memoryTransport } from '../../../lib/adapters/memory/memoryTransport.ts'
import { OspError } from '../../../lib/errors.ts'
import type { Limits } from '../../../lib/limits.ts'
import type { Credentials } from '../../../lib/ports/authenticator.ts'
import { heldRig } from '../../support/messageClient.ts'
import { remoteClients } from '../../support/remoteClients.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const minuteMs = 60_000

/** A server that lets in who has the token `right`, and tells how it answers from any address. */
async function guarded(limits: Partial<Limits> = {}, judge: () => Promise<void> = async () => {}) {
  let address = ''
  let asked = 0
  let last = ''
  const authenticate = async ({ user, token }: Credentials) => {
    asked++
    await judge()
    if (token !== 'right') throw new OspError('unauthorized')
    return { user }
  }
  const listen = remoteClients(memoryTransport(), () => address)
  const rig = await heldRig(limits, { listen, authenticator: { authenticate, knows: async () => true } })
  const greet = async (user: string, token: string, from: string) => {
    address = from
    const raw = await rig.dial()
    await turn()
    raw.hello({ user, token, session: `${asked}` })
    await turn()
    return raw
  }
  return Object.assign(rig, {
    greet,
    /** How often it was asked who somebody is. */
    asked: () => asked,
    /** The sentence of the last refusal. */
    text: () => last,
    /** What it is answered, and in how many ms it is to come back. */
    async told(user: string, token: string, from = '192.0.2.1'): Promise<string> {
      const answer = await (await greet(user, token, from)).next()
      if (answer.event === 'HelloAck') return 'in'
      assert.equal(answer.event, 'HelloNack')
      last = answer.text
      return answer.code === 3 ? 'unauthorized' : `${answer.code}: ${answer.retryAfter}`
    },
  })
}

spec('failed logins', (it) => {
  it('as one user from one address are limited to ten in a minute', async () => {
    await using rig = await guarded()
    for (let count = 0; count < 10; count++) assert.equal(await rig.told('alice', 'wrong'), 'unauthorized')
    await pass(rig.clock, 20_000)
    assert.equal(await rig.told('alice', 'wrong'), `4: ${minuteMs - 20_000}`)
    const text = 'too many failed logins of alice from 192.0.2.1; try again in 40 s'
    assert.equal(rig.text(), text)
    assert.equal(rig.log.at(-1)?.text, text)
    assert.equal(await rig.told('alice', 'wrong', '192.0.2.2'), 'unauthorized')
  })

  it('do not lock out a user with the right token, at that or another address, or another user', async () => {
    await using rig = await guarded()
    for (let count = 0; count < 70; count++) await rig.told(count < 20 ? 'alice' : `user-${count}`, 'wrong')
    assert.equal(await rig.told('alice', 'right'), 'in')
    assert.equal(await rig.told('alice', 'right', '192.0.2.2'), 'in')
    assert.equal(await rig.told('bob', 'right'), 'in')
  })

  it('as any user from one address are limited to sixty in a minute', async () => {
    await using rig = await guarded()
    for (let count = 0; count < 60; count++) {
      assert.equal(await rig.told(`user-${count % 20}`, 'wrong', `2001:db8::${count + 1}`), 'unauthorized')
    }
    assert.equal(await rig.told('bob', 'wrong', '2001:db8::ffff'), `4: ${minuteMs}`)
    assert.equal(rig.text(), 'too many failed logins from 2001:db8:0:0::/64; try again in 60 s')
    assert.equal(await rig.told('bob', 'wrong', '2001:db8:0:1::1'), 'unauthorized')
  })

  it('are forgotten after a minute', async () => {
    await using rig = await guarded()
    for (let count = 0; count < 11; count++) await rig.told('alice', 'wrong')
    await pass(rig.clock, minuteMs)
    assert.equal(await rig.told('alice', 'wrong'), 'unauthorized')
  })

  it('count for the address whatever the reason', async () => {
    await using rig = await guarded({ failedHellosPerAddress: 2 })
    for (const told of ['17: 0', '17: 0', `4: ${minuteMs}`]) assert.equal(await rig.told('..', 'right'), told)
    assert.equal(await rig.told('alice', 'wrong'), `4: ${minuteMs}`)
  })

  it('are not possible more often by many concurrent logins', async () => {
    let judge = () => {}
    const judged = new Promise<void>((resolve) => {
      judge = resolve
    })
    await using rig = await guarded({}, () => judged)
    const all = []
    for (let count = 0; count < 30; count++) all.push(await rig.greet('alice', 'wrong', '192.0.2.1'))
    judge()
    await turn()
    const codes = []
    for (const raw of all) codes.push((await raw.expect('HelloNack')).code)
    assert.deepEqual([codes.filter((code) => code === 3).length, codes.filter((code) => code === 4).length], [10, 20])
  })

  it('are checked no faster than valid logins, and use up none of their rate', async () => {
    await using rig = await guarded({ hellosPerSecond: 12 })
    for (let count = 0; count < 60; count++) await rig.told('alice', 'wrong')
    assert.equal(rig.asked(), 6)
    assert.equal(await rig.told('bob', 'right', '192.0.2.2'), 'in')
  })

  it('are logged each time while they are answered with the reason, and then once', async () => {
    await using rig = await guarded()
    for (let count = 0; count < 40; count++) await rig.told('alice', 'wrong')
    const codes = rig.log.filter(({ event }) => event === 'link-refused').map(({ code }) => code)
    assert.deepEqual(codes, [...Array<string>(10).fill('unauthorized'), 'rate-limited'])
  })

  it('with an invalid name are logged at most sixty times a minute, and a line says how many were left out', async () => {
    await using rig = await guarded({ failedHellosPerAddress: 1_000 })
    for (let count = 0; count < 100; count++) await rig.told('..', 'right')
    const lines = rig.log.filter(({ event }) => event === 'link-refused')
    assert.equal(lines.length, 60)
    await rig.server.close()
    assert.deepEqual(rig.log.at(-1), {
      ...{ level: 'warn', event: 'lines-left-out', from: '192.0.2.1' },
      ...{ lines: 40, events: 'link-refused 40' },
    })
  })
})
