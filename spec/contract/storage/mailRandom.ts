import assert from 'node:assert/strict'
import fc from 'fast-check'
import { spec } from '../../support/spec.ts'
import { bursts, type Call, MailModel, shownBy } from './mailModel.ts'
import type { Try } from './trial.ts'

/** Calls that are made at once, and whether the storage is closed and opened anew after them. */
const turns: fc.Arbitrary<readonly { readonly calls: readonly Call[]; readonly restart: boolean }[]> = fc.array(
  fc.record({
    calls: bursts,
    restart: fc.nat({ max: 9 }).map((die) => die === 0),
  }),
  { minLength: 1, maxLength: 50 },
)

/** Whatever is done to mailboxes, they are what a plain model of them is. */
export function stateMailRandom(kind: string, trying: Try): void {
  spec(`the mailboxes of a ${kind} storage`, (it) => {
    it(
      'are what a plain model says, whatever is done, and whenever they are opened anew',
      async () => {
        await fc.assert(
          fc.asyncProperty(turns, async (turns) => {
            await trying(async (trial) => {
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
            })()
          }),
          { numRuns: 12 },
        )
      },
      { limitMs: 120_000 },
    )
  })
}
