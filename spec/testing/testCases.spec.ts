import assert from 'node:assert/strict'
import { memory } from '../../lib/adapters/memory/memoryStorage.ts'
import { checkRandomRuns, type RandomRuns } from '../../lib/testing/chance.ts'
import { type StorageKind, storageContract } from '../../lib/testing.ts'
import { storageLayer } from '../support/layers.ts'
import { spec } from '../support/spec.ts'

/** Runs of numbers, which hold unless they have 3 and, behind it, 7. */
const numbers: RandomRuns<number> = {
  runs: 50,
  draw: (draw) => draw.some(1, 40, () => draw.from(1, 9)),
  async check(steps) {
    if (steps.indexOf(7, Math.max(0, steps.indexOf(3))) > 0 && steps.includes(3)) throw new Error('7 is behind 3')
  },
  textOf: (step) => `number ${step}`,
}

const kindOf = (layer: (storage: ReturnType<typeof memory>) => ReturnType<typeof storageLayer>): StorageKind => ({
  name: 'wrong',
  async location() {
    const below = memory()
    return {
      storage: () => layer(below),
      read: async (user, name) => below.read(user, name),
      async [Symbol.asyncDispose]() {},
    }
  },
})

/** A storage that keeps a message which is removed beside others. */
const forgetful = kindOf((below) =>
  storageLayer(below, {
    mailboxes: (mailboxes) => ({ remove: (user, seqs) => mailboxes.remove(user, seqs.slice(0, 2)) }),
  }),
)

const drawnFact = (seed?: number) =>
  storageContract(forgetful, { seed }).find(({ subject }) => subject.startsWith('the mailboxes of')) ??
  assert.fail('there is no such fact')

spec('a contract', (it) => {
  it('is data: facts that are proved in any order, as often as one likes', async () => {
    const facts = storageContract(forgetful)
    assert.ok(facts.length > 100)
    const [first] = facts
    await first?.run()
    await first?.run()
    assert.equal(new Set(facts.map(({ subject, name: fact }) => `${subject} ${fact}`)).size, facts.length)
    assert.ok(facts.every(({ limitMs }) => limitMs > 0))
  })

  it('reports the cases that it cannot run, and never as passed', async () => {
    const skipped = storageContract(forgetful).filter(({ skipped }) => skipped !== undefined)
    assert.deepEqual(
      skipped.map(({ subject }) => subject),
      [
        'a full wrong storage',
        'a full wrong storage',
        'a failed flush in a wrong storage',
        'mailboxes in a wrong storage without free space',
        'mailboxes in a wrong storage without free space',
        'mailboxes in a wrong storage without free space',
        'a failed flush of messages in a wrong storage',
      ],
    )
    for (const { run } of skipped) await assert.rejects(run(), { message: /^the test case cannot run: / })
  })

  it('names the seed at which what is drawn does not hold, and the least steps', async () => {
    await assert.rejects(checkRandomRuns(1, numbers), ({ message }: Error) => {
      assert.match(message, /^with seed \d+ it fails after these steps:\n- number 3\n- number 7\n7 is behind 3$/u)
      return true
    })
  })

  it('draws the same again from a seed that it has named', async () => {
    const seedOf = (error: Error) => Number(/^with seed (\d+) /u.exec(error.message)?.[1])
    const first: Error = await drawnFact()
      .run()
      .then(
        () => assert.fail('it holds'),
        (error) => error,
      )
    const second: Error = await drawnFact(seedOf(first))
      .run()
      .then(
        () => assert.fail('it holds'),
        (error) => error,
      )
    assert.ok(seedOf(first) >= 0, first.message)
    assert.equal(second.message, first.message)
    assert.match(first.message, /"does":"remove"/u)
  })
})
