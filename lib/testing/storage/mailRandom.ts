import assert from 'node:assert/strict'
import { type Chance, type Draw, proveDrawn } from '../chance.ts'
import { type Facts, factsOf } from '../testCases.ts'
import type { Fixture, Try } from './fixture.ts'
import { burstOf, type Call, drawCall, MailModel, shownBy } from './mailModel.ts'

/** Calls that are made at once, and whether the storage is closed and opened anew after them. */
interface Turn {
  readonly calls: readonly Call[]
  readonly restart: boolean
}

const drawTurns = (draw: Draw): readonly Turn[] =>
  draw.some(1, 50, () => ({ calls: burstOf(draw.some(1, 8, () => drawCall(draw))), restart: draw.once(10) }))

/** Whatever is done to mailboxes, they are what a plain model of them is. */
export function* stateMailRandom(kind: string, trying: Try, chance: Chance): Facts {
  const prove = (turns: readonly Turn[]) => trying((trial) => proveTurns(trial, turns))()
  const textOf = ({ calls, restart }: Turn) => `${JSON.stringify(calls)}${restart ? ', then a restart' : ''}`
  yield* factsOf(`the mailboxes of a ${kind} storage`, (it) => {
    it('are what a plain model says, whatever is done, and whenever they are opened anew', () =>
      proveDrawn(chance, { runs: 12, draw: drawTurns, prove, textOf }))
  })
}

async function proveTurns(trial: Fixture, turns: readonly Turn[]): Promise<void> {
  const model = new MailModel()
  for (const { calls, restart } of turns) {
    const made = calls.map((call) => model.make(call, trial.storage.mailboxes))
    const outcomes = await Promise.all(made.map(({ done }) => done))
    assert.deepEqual(
      outcomes,
      made.map(({ expected }) => expected),
    )
    if (restart) await trial.restart()
    assert.deepEqual(await shownBy(trial.storage.mailboxes), model.shown())
  }
  await trial.restart()
  assert.deepEqual(await shownBy(trial.storage.mailboxes), model.shown())
  assert.deepEqual(await trial.storage.mailboxes.damages(), [])
}
