import assert from 'node:assert/strict'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { Client } from '../../lib/client/client.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import { MortalServer } from '../support/mortalServer.ts'
import { spec } from '../support/spec.ts'
import { until } from '../support/until.ts'

const count = 1_000
/** Number of clients that listen; all follow the list. */
const listening = 100
/** Clients of one address: fewer than can connect in a second, even if the machine is busy. */
const admitted = 90

/** A server that accepts them all at once, during the preparation. */
function hospitable(place: MortalServer) {
  const kill = { at: 'publish', when: 'before', nth: 1 } as const
  return place.killable({
    kill,
    limits: { clients: count, linksPerAddress: 2 * count, pendingLinks: count, hellosPerSecond: 10 * count },
    onConflict: 'replace',
  })
}

/** Resolves when its next whole list has arrived and contains every listening client. */
async function seesAll({ presence }: Client): Promise<void> {
  let isListed = false
  presence.once('whole', () => {
    isListed = true
  })
  const sees = () => isListed && presence.size === listening
  await Promise.race([until(presence, 'change', sees), until(presence, 'whole', sees)])
}

spec('a thousand clients that reconnect at the same time', (it) => {
  it('to a restarted server are accepted one after another, and each retries rarely', async () => {
    await using place = await MortalServer.in()
    const first = await hospitable(place)
    // Real waits, and real randomness.
    const platform = nodePlatform()
    const clients = Array.from({ length: count }, (_, at) => place.client({ user: `user-${at}`, platform }))
    const watcher = clients[0] ?? assert.fail('there are no clients')
    const refusals: number[] = []
    for (const [at, client] of clients.entries()) {
      if (at < listening) client.receive(() => {})
      else client.presence.once('whole', () => {})
      client.on('status', (_, why) => {
        if (why?.code === 'rate-limited') refusals.push(why.retryAfterMs)
      })
    }
    await Promise.all([seesAll(watcher), ...clients.map((client) => client.online())])
    assert.deepEqual(refusals, [])

    const allBack = seesAll(watcher)
    await first.kill()
    const began = performance.now()
    const knocks = new Map<string, number[]>([
      ['link-open', []],
      ['link-refused', []],
    ])
    const log = ({ event }: LogEntry) => knocks.get(event)?.push(performance.now())
    const limits = { clients: count, linksPerAddress: 2 * count, pendingLinks: count, hellosPerSecond: 2 * admitted }
    await place.serve({ limits: { ...limits, ...everyLine }, log })
    await Promise.all(clients.map((client) => client.online()))
    await allBack
    const seconds = (performance.now() - began) / 1_000

    const opened = knocks.get('link-open') ?? []
    const asked = opened.length + (knocks.get('link-refused')?.length ?? 0)
    const toldMs = Math.max(0, ...refusals)
    console.log(
      `all clients are back after ${seconds.toFixed(1)} s and ${asked} HELLO_REQs, and waited up to ${toldMs} ms`,
    )
    assert.ok(asked < 2.5 * count, `${asked} HELLO_REQs were sent`)
    // On a slow machine they arrive too slowly for any to be refused.
    for (const waitMs of refusals) assert.ok(waitMs > 0, `a client had to wait for ${waitMs} ms`)
    assertRate(opened)
  })
})

/** Counts links by their lines in the log. */
const everyLine = { logLinesPerUser: 1e6, logLinesPerAddress: 1e6, refusalLinesPerAddress: 1e6 }

/** As many as can connect in a second at once, and then no more than the rate. */
function assertRate(times: readonly number[]): void {
  assert.ok(times.length >= count)
  const [first = 0] = times
  for (const [at, time] of times.entries()) {
    const earliest = first + ((at + 1 - admitted) / admitted) * 1_000 - 100
    assert.ok(time >= earliest, `number ${at} was accepted ${earliest - time} ms too early`)
  }
}
