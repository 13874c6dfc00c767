import assert from 'node:assert/strict'
import { memoryTransport } from '../../lib/adapters/memoryTransport.ts'
import { OspError } from '../../lib/errors.ts'
import type { Limits } from '../../lib/limits.ts'
import type { Credentials } from '../../lib/ports/authenticator.ts'
import { fromAfar } from '../support/fromAfar.ts'
import { heldRig } from '../support/messageClient.ts'
import { spec } from '../support/spec.ts'
import { pass, turn } from '../support/turn.ts'

const minuteMs = 60_000

/** A server that lets in who has the token `right`, and tells how it answers from any address. */
async function guarded(limits: Partial<Limits> = {}, judge: () => Promise<void> = async () => {}) {
  let address = ''
  let asked = 0
  const authenticate = async ({ user, token }: Credentials) => {
    asked++
    await judge()
    if (token !== 'right') throw new OspError('unauthorized')
    return { user }
  }
  const listen = fromAfar(memoryTransport(), () => address)
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
    /** What it is answered, and in how many ms it is to come back. */
    async told(user: string, token: string, from = '192.0.2.1'): Promise<string> {
      const answer = await (await greet(user, token, from)).next()
      if (answer.event === 'HelloAck') return 'in'
      assert.equal(answer.event, 'HelloNack')
      return answer.code === 3 ? 'unauthorized' : `${answer.code}: ${answer.retryAfter}`
    },
  })
}

spec('failing to come in', (it) => {
  it('as one user from one address ten times in a minute is told to come back, and nobody is asked', async () => {
    await using rig = await guarded()
    for (let count = 0; count < 10; count++) assert.equal(await rig.told('alice', 'wrong'), 'unauthorized')
    await pass(rig.clock, 20_000)
    assert.equal(await rig.told('alice', 'right'), `4: ${minuteMs - 20_000}`)
    assert.equal(rig.asked(), 10)
  })

  it('does not keep the user out who comes from elsewhere, nor another user', async () => {
    await using rig = await guarded()
    for (let count = 0; count < 11; count++) await rig.told('alice', 'wrong')
    assert.equal(await rig.told('alice', 'right', '192.0.2.2'), 'in')
    assert.equal(await rig.told('bob', 'right'), 'in')
  })

  it('as anybody from one address sixty times in a minute is told so, whoever comes from there', async () => {
    await using rig = await guarded()
    for (let count = 0; count < 60; count++) {
      assert.equal(await rig.told(`user-${count % 20}`, 'wrong', `2001:db8::${count + 1}`), 'unauthorized')
    }
    assert.equal(await rig.told('bob', 'right', '2001:db8::ffff'), `4: ${minuteMs}`)
    assert.equal(await rig.told('bob', 'right', '2001:db8:0:1::1'), 'in')
  })

  it('is forgotten after a minute', async () => {
    await using rig = await guarded()
    for (let count = 0; count < 11; count++) await rig.told('alice', 'wrong')
    await pass(rig.clock, minuteMs)
    assert.equal(await rig.told('alice', 'right'), 'in')
  })

  it('counts only where the user was found unauthorized', async () => {
    await using rig = await guarded({ failedHellosPerAddress: 2 })
    for (let count = 0; count < 5; count++) assert.equal(await rig.told('..', 'right'), '17: 0')
    for (let count = 0; count < 5; count++) assert.equal(await rig.told('alice', 'right'), 'in')
  })

  it('is not possible more often by coming all at once: those too many wait until the others were judged', async () => {
    let judge = () => {}
    const judged = new Promise<void>((resolve) => {
      judge = resolve
    })
    await using rig = await guarded({}, () => judged)
    const all = []
    for (let count = 0; count < 30; count++) all.push(await rig.greet('alice', 'wrong', '192.0.2.1'))
    assert.equal(rig.asked(), 10)
    judge()
    await turn()
    const codes = []
    for (const raw of all) codes.push((await raw.expect('HelloNack')).code)
    assert.deepEqual(
      [rig.asked(), codes.filter((code) => code === 3).length, codes.filter((code) => code === 4).length],
      [10, 10, 20],
    )
  })

  it('uses up nothing of what others come in by', async () => {
    await using rig = await guarded({ hellosPerSecond: 12 })
    for (let count = 0; count < 10; count++) await rig.told('alice', 'wrong')
    for (let count = 0; count < 50; count++) await rig.told('alice', 'wrong')
    assert.equal(await rig.told('bob', 'right', '192.0.2.2'), 'in')
  })

  it('is logged each time while it is looked at, and then once', async () => {
    await using rig = await guarded()
    for (let count = 0; count < 40; count++) await rig.told('alice', 'wrong')
    const codes = rig.log.filter(({ event }) => event === 'link-refused').map(({ code }) => code)
    assert.deepEqual(codes, [...Array<string>(10).fill('unauthorized'), 'rate-limited'])
  })

  it('by what is no name is logged sixty times a minute at most, and the last line says so', async () => {
    await using rig = await guarded()
    for (let count = 0; count < 100; count++) await rig.told('..', 'right')
    const lines = rig.log.filter(({ event }) => event === 'link-refused')
    assert.deepEqual([lines.length, lines.at(-1)?.untold], [60, 'more of it from there is not logged for a minute'])
  })
})
