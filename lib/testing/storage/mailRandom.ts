import assert from 'node:assert/strict'
import { type Chance, type Draw, proveDrawn } from '../chance.ts'
import { type TestCases, testCasesOf } from '../testCases.ts'
import type { Fixture, Try } from './fixture.ts'
import { burstOf, type Call, drawCall, MailModel, shownBy } from './mailModel.ts'

/** Concurrent calls, and whether the storage restarts after them. */
interface Turn {
  readonly calls: readonly Call[]
  readonly restart: boolean
}

const drawTurns = (draw: Draw): readonly Turn[] =>
  draw.some(1, 50, () => ({ calls: burstOf(draw.some(1, 8, () => drawCall(draw))), restart: draw.once(10) }))

/** The promises of mailboxes under random calls, compared with a model. */
export function mailRandomCases(kind: string, trying: Try, chance: Chance): TestCases {
  const prove = (turns: readonly Turn[]) => trying((fixture) => proveTurns(fixture, turns))()
  const textOf = ({ calls, restart }: Turn) => `${JSON.stringify(calls)}${restart ? ', then a restart' : ''}`
  return testCasesOf(`the mailboxes of a ${kind} storage`, (it) => {
    it('equal a simple model after random calls and restarts', () =>
      proveDrawn(chance, { runs: 12, draw: drawTurns, prove, textOf }))
  })
}

async function proveTurns(fixture: Fixture, turns: readonly Turn[]): Promise<void> {
  const model = new MailModel()
  for (const { calls, restart } of turns) {
    const made = calls.map((call) => model.make(call, fixture.storage.mailboxes))
    const outcomes = await Promise.all(made.map(({ done }) => done))
    assert.deepEqual(
      outcomes,
      made.map(({ expected }) => expected),
    )
    if (restart) await fixture.restart()
    assert.deepEqual(await shownBy(fixture.storage.mailboxes), model.shown())
  }
  await fixture.restart()
  assert.deepEqual(await shownBy(fixture.storage.mailboxes), model.shown())
  assert.deepEqual(await fixture.storage.mailboxes.damages(), [])
}
