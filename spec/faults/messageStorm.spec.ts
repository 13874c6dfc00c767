import assert from 'node:assert/strict'
import { nodePlatform } from '../../lib/adapters/nodePlatform.ts'
import type { Client } from '../../lib/client/client.ts'
import { defaultLimits } from '../../lib/limits.ts'
import { until } from '../support/facts.ts'
import { MortalServer } from '../support/mortalServer.ts'
import { spec } from '../support/spec.ts'

const count = 1_000

/** The times in ms at which a daemon has logged this of links. */
const timesOf = (stderr: string, event: 'link-open' | 'link-refused') =>
  [...stderr.matchAll(new RegExp(`^(\\S+) \\w+ +${event} `, 'gmu'))].map(([, at = '']) => Date.parse(at))

/** A server that admits them all at once, for the time before the fact. */
function hospitable(place: MortalServer) {
  const kill = { at: 'publish', when: 'before', nth: 1 } as const
  return place.killable({ kill, limits: { clients: count, hellosPerSecond: 10 * count }, onConflict: 'replace' })
}

/** Resolves when its next whole list has come, and everybody is in the list. */
async function seesAll({ roster }: Client): Promise<void> {
  let isListed = false
  roster.once('whole', () => {
    isListed = true
  })
  const sees = () => isListed && roster.size === count
  await Promise.race([until(roster, 'change', sees), until(roster, 'whole', sees)])
}

spec('a thousand clients that come back at once', (it) => {
  it(
    'to a server that was killed and started again are let in one after another, in less than a minute, and each asks seldom',
    async () => {
      await using place = await MortalServer.in()
      const first = await hospitable(place)
      // Real waits, and real chance.
      const platform = nodePlatform()
      const clients = Array.from({ length: count }, (_, at) => place.client({ user: `user-${at}`, platform }))
      const watcher = clients[0] ?? assert.fail('there are no clients')
      const refusals: number[] = []
      for (const client of clients) {
        client.receive(() => {})
        client.on('status', (_, why) => {
          if (why?.code === 'rate-limited') refusals.push(why.retryAfterMs)
        })
      }
      await seesAll(watcher)
      assert.deepEqual(refusals, [])

      const allBack = seesAll(watcher)
      await first.kill()
      const began = performance.now()
      const server = await place.daemon(['--max-clients', `${count}`])
      await Promise.all(clients.map((client) => client.online()))
      await allBack
      const seconds = (performance.now() - began) / 1_000
      await server.kill()

      const [opened, refused] = [timesOf(server.stderr, 'link-open'), timesOf(server.stderr, 'link-refused')]
      const asked = opened.length + refused.length
      console.log(`all back after ${seconds.toFixed(1)} s and ${asked} HELLO_REQs`)
      assert.ok(seconds < 60, `the last one was back after ${seconds} s`)
      assert.ok(asked < 3 * count, `${asked} HELLO_REQs were sent`)
      assert.ok(refusals.length > 0 && refusals.every((ms) => ms > 0), 'some were not told when to come back')
      assertRate(opened)
    },
    { limitMs: 90_000 },
  )
})

/** As many at once as may come in a second, and then not more than may; a log may be somewhat late. */
function assertRate(times: readonly number[]): void {
  const { hellosPerSecond } = defaultLimits
  assert.ok(times.length >= count)
  const [first = 0] = times
  for (const [at, time] of times.entries()) {
    const earliest = first + ((at - hellosPerSecond) / hellosPerSecond) * 1_000 - 500
    assert.ok(time >= earliest, `number ${at} was let in ${earliest - time} ms too early`)
  }
}
