import assert from 'node:assert/strict'
import type { OspError } from '../../../lib/errors.ts'
import { IncompleteFrames } from '../../../lib/server/connections/incompleteFrames.ts'
import { spec } from '../../support/spec.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

/** Memory for 100 bytes of begun frames, of which one is at most 50 bytes long. */
function rig() {
  const clock = new VirtualClock()
  const frames = new IncompleteFrames({ chunkMemoryBytes: 100, chunkBytes: 50 }, clock)
  const link = (user: string) => {
    const it = {
      user,
      paused: false,
      ended: '',
      pauseFrame: (yes: boolean) => {
        it.paused = yes
      },
      close: async ({ code }: OspError) => {
        it.ended = code
        frames.update(it, 0)
      },
      holds: (bytes: number) => frames.update(it, bytes),
    }
    return it
  }
  return { clock, frames, link }
}

type Link = ReturnType<ReturnType<typeof rig>['link']>
const paused = (links: readonly Link[]) => links.map((link) => link.paused)
const ended = (links: readonly Link[]) => links.map((link) => link.ended)

spec('incomplete frames', (it) => {
  it('are read while there is memory for them, however old they are', () => {
    const { clock, link } = rig()
    const links = [link('alice'), link('alice'), link('bob')]
    for (const one of links) one.holds(33)
    clock.pass(3_600_000)
    assert.deepEqual(
      [paused(links), ended(links)],
      [
        [false, false, false],
        ['', '', ''],
      ],
    )
    assert.deepEqual(clock.set, [])
  })

  it('beyond it are paused, except as many as fit once more, and are read again when others are complete', () => {
    const { link, frames } = rig()
    const links = Array.from({ length: 5 }, () => link('alice'))
    for (const one of links) one.holds(30)
    assert.deepEqual(paused(links), [false, false, false, false, false])
    assert.equal(frames.bytes, 150)
    for (const one of links.slice(0, 2)) one.holds(31)
    assert.deepEqual(paused(links), [true, true, false, false, false])
    links[4]?.holds(0)
    assert.deepEqual(paused(links), [false, true, false, false, false])
    links[3]?.holds(0)
    assert.deepEqual(paused(links), [false, false, false, false, false])
  })

  it('of a user with less than an even share are read regardless of other users', () => {
    const { link } = rig()
    const many = Array.from({ length: 10 }, () => link('mallory'))
    for (const one of many) one.holds(20)
    const honest = link('bob')
    for (const bytes of [10, 30, 50]) honest.holds(bytes)
    assert.equal(honest.paused, false)
    assert.ok(paused(many).includes(true))
  })

  it('end their links if they are incomplete after five seconds while others wait for memory', () => {
    const { clock, link, frames } = rig()
    const many = Array.from({ length: 4 }, () => link('mallory'))
    for (const one of many) one.holds(40)
    clock.pass(3_000)
    const honest = link('bob')
    honest.holds(50)
    clock.pass(1_999)
    assert.deepEqual(ended(many), ['', '', '', ''])
    clock.pass(1_001)
    // Two are enough: what is left fits.
    assert.deepEqual(ended([...many, honest]), ['timed-out', 'timed-out', 'timed-out', '', ''])
    assert.deepEqual([frames.bytes, paused(many)], [90, [false, false, false, false]])
    clock.pass(60_000)
    assert.deepEqual(ended([...many, honest]).slice(3), ['', ''])
  })

  it('are not counted after their links have ended, and leave no alarm', () => {
    const { clock, link, frames } = rig()
    const many = Array.from({ length: 6 }, () => link('mallory'))
    for (const one of many) one.holds(40)
    for (const one of many) one.holds(0)
    assert.deepEqual([frames.bytes, paused(many)], [0, Array(6).fill(false)])
    clock.pass(1_000)
    assert.deepEqual(clock.set, [])
  })
})
