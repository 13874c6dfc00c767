import assert from 'node:assert/strict'
import { type Chance, type Draw, proveDrawn } from '../chance.ts'
import { type Facts, factsOf } from '../testCases.ts'
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
export function* stateMailRandom(kind: string, trying: Try, chance: Chance): Facts {
  const prove = (turns: readonly Turn[]) => trying((trial) => proveTurns(trial, turns))()
  const textOf = ({ calls, restart }: Turn) => `${JSON.stringify(calls)}${restart ? ', then a restart' : ''}`
  yield* factsOf(`the mailboxes of a ${kind} storage`, (it) => {
    it('equal a simple model after random calls and restarts', () =>
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
