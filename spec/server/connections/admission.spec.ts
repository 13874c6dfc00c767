import assert from 'node:assert/strict'
import { memoryTransport } from '../../../lib/adapters/memory/memoryTransport.ts'
import { OspError } from '../../../lib/errors.ts'
import { limitsWith } from '../../../lib/limits.ts'
import type { Credentials } from '../../../lib/ports/authenticator.ts'
import type { Socket } from '../../../lib/ports/socket.ts'
import { Admission } from '../../../lib/server/connections/admission.ts'
import { BoundedLog } from '../../../lib/server/serverLog.ts'
import { heldRig } from '../../support/messageClient.ts'
import type { RawClient } from '../../support/rawClient.ts'
import { remoteClients } from '../../support/remoteClients.ts'
import type { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

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
  it('is admitted one after another: each refused client gets a later time than the one before, and its link ends', async () => {
    await using rig = await heldRig({ hellosPerSecond: 8 })
    assert.deepEqual(await crowd(rig, 8), [0, 0, 0, 0, 250, 500, 750, 1_000])
    assert.equal(rig.server.status().links, 4)
  })

  it('is admitted if each client comes back at its time', async () => {
    await using rig = await heldRig({ hellosPerSecond: 8 })
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

  it('is refused before the authenticator is called', async () => {
    let asked = 0
    const authenticator = {
      authenticate: async ({ user }: { user: string }) => {
        asked++
        return { user }
      },
      knows: async () => true,
    }
    await using rig = await heldRig({ hellosPerSecond: 4 }, { authenticator })
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

  it('from one address gets half of the HELLOs, and leaves the other half to other addresses', async () => {
    let address = '192.0.2.1'
    const listen = remoteClients(memoryTransport(), () => address)
    const authenticator = { authenticate: async ({ user }: Credentials) => ({ user }), knows: async () => true }
    await using rig = await heldRig({ hellosPerSecond: 4 }, { listen, authenticator })
    assert.deepEqual(await crowd(rig, 50), [0, 0, ...Array.from({ length: 48 }, (_, at) => (at + 1) * 500)])
    address = '192.0.2.2'
    assert.deepEqual(await crowd(rig, 3), [0, 0, 500])
    address = '192.0.2.3'
    assert.deepEqual(await crowd(rig, 1), [250])
  })

  it('from two busy addresses leaves capacity for an address that rarely connects', async () => {
    let address = '192.0.2.1'
    const listen = remoteClients(memoryTransport(), () => address)
    const authenticator = { authenticate: async ({ user }: Credentials) => ({ user }), knows: async () => true }
    await using rig = await heldRig({ hellosPerSecond: 40 }, { listen, authenticator })
    const letIn = (told: readonly number[]) => told.filter((retryAfter) => retryAfter === 0).length
    assert.equal(letIn(await crowd(rig, 30)), 20)
    address = '192.0.2.2'
    assert.equal(letIn(await crowd(rig, 30)), 20)
    address = '192.0.2.3'
    assert.deepEqual(await crowd(rig, 3), [0, 0, 0])
  })

  it('that fails to log in leaves capacity for valid clients', async () => {
    let address = ''
    const listen = remoteClients(memoryTransport(), () => address)
    const authenticate = async ({ user }: Credentials) => {
      if (address === '192.0.2.9') return { user }
      throw new OspError('unauthorized')
    }
    await using rig = await heldRig(
      { hellosPerSecond: 8 },
      { listen, authenticator: { authenticate, knows: async () => true } },
    )
    for (let at = 0; at < 30; at++) {
      address = `192.0.2.${at % 3}`
      const raw = await rig.dial()
      raw.hello({ session: `${at}` })
      await raw.closed
    }
    address = '192.0.2.9'
    assert.deepEqual(await crowd(rig, 2), [0, 0])
  })

  it('of a hundred per second from one address is admitted at once by default', async () => {
    await using rig = await heldRig()
    const told = await crowd(rig, 102)
    assert.deepEqual(told.slice(99), [0, 10, 20])
  })

  it('with invalid HELLOs does not use up the rate of others', async () => {
    await using rig = await heldRig({ hellosPerSecond: 2 })
    for (let count = 0; count < 10; count++) {
      const raw = await rig.dial()
      raw.hello(count % 2 === 0 ? { versions: [9] } : { user: '..' })
      await raw.refused('HelloNack', count % 2 === 0 ? 'unsupported-version' : 'bad-name')
    }
    assert.deepEqual(await crowd(rig, 1), [0])
  })
})

/** An admission that rejects every connection, and sends the reason to two at a time. */
function rejecting(): Admission {
  const limits = { ...limitsWith({ refusedLinks: 2 }), pendingLinks: 0 }
  const clock = new VirtualClock()
  return new Admission(limits, clock, new BoundedLog(undefined, limits, clock))
}

/** A socket that is closed when the spec calls `go`, and the calls that it received. */
function leaving() {
  const done: string[] = []
  let go = () => {}
  const gone = new Promise<void>((resolve) => {
    go = resolve
  })
  const close = () => {
    done.push('told')
    return gone
  }
  const socket = { peer: { host: '192.0.2.1' }, close, destroy: () => void done.push('destroyed') }
  return { socket: socket as unknown as Socket, done, go }
}

spec('rejected connections', (it) => {
  it('are closed without a reason while too many others receive theirs', async () => {
    const admission = rejecting()
    const all = [leaving(), leaving(), leaving()] as const
    for (const { socket } of all) assert.ok(!admission.enter(socket))
    assert.deepEqual(
      all.map(({ done }) => done),
      [['told'], ['told'], ['destroyed']],
    )
    all[0].go()
    await turn()
    const next = leaving()
    admission.enter(next.socket)
    assert.deepEqual([next.done, admission.gauges.rejectedLinks], [['told'], 2])
  })

  it('are closed at once when the server closes', () => {
    const admission = rejecting()
    const connection = leaving()
    admission.enter(connection.socket)
    admission.close()
    assert.deepEqual(connection.done, ['told', 'destroyed'])
  })
})
