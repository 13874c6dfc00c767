import assert from 'node:assert/strict'
import { memory } from '../../lib/adapters/memory/memoryStorage.ts'
import { checkRandomRuns, type RandomRuns } from '../../lib/testing/chance.ts'
import { type StorageKind, storageContract } from '../../lib/testing.ts'
import { storageLayer } from '../support/layers.ts'
import { spec } from '../support/spec.ts'

/** Runs of numbers that fail if a 3 is followed by a 7. */
const numbers: RandomRuns<number> = {
  runs: 50,
  draw: (draw) => draw.some(1, 40, () => draw.from(1, 9)),
  async check(steps) {
    if (steps.indexOf(7, Math.max(0, steps.indexOf(3))) > 0 && steps.includes(3)) throw new Error('7 follows 3')
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

/** A storage that removes at most two messages at once. */
const forgetful = kindOf((below) =>
  storageLayer(below, {
    mailboxes: (mailboxes) => ({ remove: (user, seqs) => mailboxes.remove(user, seqs.slice(0, 2)) }),
  }),
)

const randomCase = (seed?: number) =>
  storageContract(forgetful, { seed }).find(({ subject }) => subject.startsWith('the mailboxes of')) ??
  assert.fail('there is no such test case')

spec('a test suite', (it) => {
  it('consists of test cases that run in any order and repeatedly', async () => {
    const cases = storageContract(forgetful)
    assert.ok(cases.length > 100)
    const [first] = cases
    await first?.run()
    await first?.run()
    assert.equal(new Set(cases.map(({ subject, name }) => `${subject} ${name}`)).size, cases.length)
    assert.ok(cases.every(({ limitMs }) => limitMs > 0))
  })

  it('reports test cases that cannot run, which never pass', async () => {
    const skipped = storageContract(forgetful).filter(({ skipped }) => skipped !== undefined)
    assert.deepEqual(
      skipped.map(({ subject }) => subject),
      [
        'a full wrong storage',
        'a full wrong storage',
        'a full wrong storage',
        'a failed flush in a wrong storage',
        'a failed flush in a wrong storage',
        'mailboxes in a wrong storage without free space',
        'mailboxes in a wrong storage without free space',
        'mailboxes in a wrong storage without free space',
        'a failed flush of messages in a wrong storage',
        'a failed flush of a receipt in a wrong storage',
        'a device of a user in a wrong storage that fails',
      ],
    )
    for (const { run } of skipped) await assert.rejects(run(), { message: /^the test case cannot run: / })
  })

  it('names the seed of a failing run, and the shortest failing steps', async () => {
    await assert.rejects(checkRandomRuns(1, numbers), ({ message }: Error) => {
      assert.match(message, /^with seed \d+ it fails after these steps:\n- number 3\n- number 7\n7 follows 3$/u)
      return true
    })
  })

  it('generates the same steps again from a named seed', async () => {
    const seedOf = (error: Error) => Number(/^with seed (\d+) /u.exec(error.message)?.[1])
    const first: Error = await randomCase()
      .run()
      .then(
        () => assert.fail('it passes'),
        (error) => error,
      )
    const second: Error = await randomCase(seedOf(first))
      .run()
      .then(
        () => assert.fail('it passes'),
        (error) => error,
      )
    assert.ok(seedOf(first) >= 0, first.message)
    assert.equal(second.message, first.message)
    assert.match(first.message, /"does":"remove"/u)
  })
})
