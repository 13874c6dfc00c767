import assert from 'node:assert/strict'
import { OspError } from '../../lib/errors.ts'
import type { Socket } from '../../lib/ports/socket.ts'
import { TurnedAway } from '../../lib/server/turnedAway.ts'
import { decode } from '../../lib/wire/message.ts'
import { spec } from '../support/spec.ts'
import { turn } from '../support/turn.ts'

const why = new OspError('rate-limited', 'too many', { retryAfterMs: 1_000 })

/** A socket that is gone when the fact says so; what was done to it. */
function leaving() {
  const done: string[] = []
  let go = () => {}
  const gone = new Promise<void>((resolve) => {
    go = resolve
  })
  const socket: Pick<Socket, 'close' | 'destroy'> = {
    close(last) {
      const told = last && decode(last)
      done.push(told?.event === 'GoodbyeNtf' ? `${told.code} ${told.retryAfter} ${told.text}` : 'nothing')
      return gone
    },
    destroy: () => void done.push('destroyed'),
  }
  return { socket: socket as Socket, done, go }
}

spec('links that are turned away', (it) => {
  it('are told why, and when to come back', () => {
    const { socket, done } = leaving()
    void new TurnedAway(1).add(socket, why)
    assert.deepEqual(done, ['4 1000 too many'])
  })

  it('are closed without a word while too many others are being told', async () => {
    const turnedAway = new TurnedAway(2)
    const all = [leaving(), leaving(), leaving()] as const
    for (const { socket } of all) void turnedAway.add(socket, why)
    assert.deepEqual(
      all.map(({ done }) => done),
      [['4 1000 too many'], ['4 1000 too many'], ['destroyed']],
    )
    all[0].go()
    await turn()
    const next = leaving()
    void turnedAway.add(next.socket, why)
    assert.deepEqual(next.done, ['4 1000 too many'])
  })

  it('are not waited for when the server closes', () => {
    const turnedAway = new TurnedAway(2)
    const { socket, done } = leaving()
    void turnedAway.add(socket, why)
    turnedAway.end()
    assert.deepEqual(done, ['4 1000 too many', 'destroyed'])
  })
})
