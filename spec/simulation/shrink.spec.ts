import assert from 'node:assert/strict'
import { spec } from '../support/spec.ts'
import { shrink } from './shrink.ts'
import type { Part, RunReport } from './simulate.ts'

const names = ['loss', 'client-1', 'client-2', 'alice/file-1']

/** A run that fails while `fails` returns true. */
function runs(fails: (actions: readonly number[], names: readonly string[]) => string | undefined) {
  return async ({ actions, without }: Part): Promise<RunReport> => {
    const happened = actions ?? Array.from({ length: 80 }, (_, at) => at + 1)
    const failure = fails(
      happened,
      names.filter((name) => !without.includes(name)),
    )
    const nothing = { seed: 1, steps: 0, virtualMs: 0, published: 0, delivered: 0, trace: [] }
    return { ...nothing, failure, actions: happened, names }
  }
}

spec('a run that fails', (it) => {
  it('is reduced until nothing more can be left out', async () => {
    const run = runs((actions, left) =>
      actions.includes(7) && actions.includes(61) && left.includes('client-2') ? 'it fails' : undefined,
    )
    const { part, runs: count } = await shrink(await run({ without: [] }), { without: [] }, run)
    assert.deepEqual(part.actions, [7, 61])
    assert.deepEqual(part.without, ['loss', 'client-1', 'alice/file-1'])
    assert.ok(count < 100, `${count} runs`)
  })

  it('is not reduced to one that fails in another way', async () => {
    const run = runs((actions) => {
      if (actions.length === 80) return 'server 3 forgets client-1'
      return actions.includes(5) ? 'server 1 forgets client-2' : 'another fault'
    })
    const { part, report } = await shrink(await run({ without: [] }), { without: [] }, run)
    assert.deepEqual(part.actions, [5])
    assert.equal(report.failure, 'server 1 forgets client-2')
  })

  it('keeps the parts left out that were left out before', async () => {
    const run = runs((actions) => (actions.includes(3) ? 'it fails' : undefined))
    const from = { actions: [3, 4], without: ['loss'] }
    const { part } = await shrink(await run(from), from, run)
    assert.deepEqual(part.actions, [3])
    assert.ok(part.without.includes('loss'))
  })
})
