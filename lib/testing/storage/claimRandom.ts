import { type Chance, type Draw, proveDrawn } from '../chance.ts'
import { type TestCases, testCasesOf } from '../testCases.ts'
import {
  ClaimModel,
  checkpoint,
  claim,
  complete,
  fillAndVerify,
  forget,
  look,
  remove,
  restart,
  type Step,
  type Wish,
  writeOnly,
} from './claimModel.ts'
import type { Try } from './fixture.ts'

/** Random claims, and steps under them. */
function drawSteps(draw: Draw): readonly Step[] {
  const name = () => draw.pick(['a', 'b'])
  const size = () => draw.pick([5, 5, 6])
  const choice = () => draw.from(0, 20)
  const wish = (): Wish => ({
    name: name(),
    size: size(),
    by: draw.from(1, 11),
    fresh: draw.once(2),
    takeOver: draw.once(2),
    onConflict: draw.pick(['replace', 'replace', 'reject'] as const),
  })
  const claiming = () => claim(wish())
  const kinds: readonly (() => Step)[] = [
    claiming,
    claiming,
    claiming,
    () => checkpoint(choice(), draw.from(0, 5)),
    () => writeOnly(choice()),
    () => fillAndVerify(choice()),
    () => complete(choice()),
    () => remove(name()),
    () => forget(name()),
    () => look(name(), size()),
    () => restart,
  ]
  return draw.some(1, 40, () => draw.pick(kinds)())
}

/** The promises of claims under random steps, compared with a model. */
export function claimRandomCases(kind: string, trying: Try, chance: Chance): TestCases {
  const prove = (steps: readonly Step[]) =>
    trying(async (fixture) => {
      const model = new ClaimModel()
      for (const { run } of steps) await run(model, fixture)
    })()
  return testCasesOf(`the claims of a ${kind} storage`, (it) => {
    it('equal a simple model after random steps, and a superseded claim writes nothing', () =>
      proveDrawn(chance, { runs: 15, draw: drawSteps, prove, textOf: ({ text }) => text }))
  })
}
