import assert from 'node:assert/strict'
import type { ClientState, Receipt, StoredTask, TaskStore } from '../ports/clientState.ts'
import { factsOf, type TestCase } from './testCases.ts'

/** A place where client states of one kind keep things, for one fact. */
export interface StatePlace extends AsyncDisposable {
  /** A state of this place. Called again: the program was started anew. */
  state(): ClientState
}

/** A receipt that can be told from others. */
export function receiptOf(seq: number): Receipt {
  return { seq, sender: `bob ${seq} "ä"`, id: seq.toString(16).padStart(32, '0') }
}

const range = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, at) => receiptOf(first + at))

/** Every promise of a client state about receipts, as facts. */
export function receiptsContract(name: string, place: () => Promise<StatePlace>): readonly TestCase[] {
  return factsOf(`the receipts of a ${name} state`, (it) => {
    it('are none at first', async () => {
      await using here = await place()
      assert.deepEqual(await here.state().receipts.load(), [])
    })

    it('are there again after a restart, the latest last', async () => {
      await using here = await place()
      const { receipts } = here.state()
      await receipts.load()
      for (const receipt of range(1, 5)) await receipts.put(receipt, 10)
      assert.deepEqual(await here.state().receipts.load(), range(1, 5))
    })

    it('are the latest at least, and not many more, however many were put', async () => {
      await using here = await place()
      const { receipts } = here.state()
      for (const receipt of range(1, 600)) await receipts.put(receipt, 3)
      const kept = await here.state().receipts.load()
      assert.deepEqual(kept.slice(-3), range(598, 600))
      assert.deepEqual(kept, range(601 - kept.length, 600))
      assert.ok(kept.length <= 300, `${kept.length} are kept`)
    })

    it('stay where more are put by a program that has not loaded them', async () => {
      await using here = await place()
      await here.state().receipts.put(receiptOf(1), 3)
      await here.state().receipts.put(receiptOf(2), 3)
      assert.deepEqual(await here.state().receipts.load(), range(1, 2))
    })

    it('keep as many as are asked for now', async () => {
      await using here = await place()
      const { receipts } = here.state()
      for (const receipt of range(1, 4)) await receipts.put(receipt, 2)
      for (const receipt of range(5, 9)) await receipts.put(receipt, 5)
      assert.deepEqual((await here.state().receipts.load()).slice(-5), range(5, 9))
    })
  })
}

/** Every promise of a client state about tasks, as facts. */
export function tasksContract(name: string, place: () => Promise<StatePlace>): readonly TestCase[] {
  return factsOf(`the tasks of a ${name} state`, (it) => {
    it('are none at first', async () => {
      await using here = await place()
      assert.deepEqual(await tasksOf(here).load(), [])
    })

    it('are there again after a restart, by rising id, as they were put last', async () => {
      await using here = await place()
      const tasks = tasksOf(here)
      await Promise.all([3, 1, 2].map((id) => tasks.put(taskOf(id))))
      const ended = { ...taskOf(2), state: 'failed', why: { code: 'bad-name', text: 'a\n"b"' }, endedAt: 5 } as const
      await tasks.put(ended)
      assert.deepEqual(await tasksOf(here).load(), [taskOf(1), ended, taskOf(3)])
    })

    it('are gone when they were removed', async () => {
      await using here = await place()
      const tasks = tasksOf(here)
      await Promise.all([tasks.put(taskOf(1)), tasks.put(taskOf(2)), tasks.remove(1), tasks.remove(7)])
      assert.deepEqual(await tasksOf(here).load(), [taskOf(2)])
    })

    it('stay where more are put by a program that has not loaded them', async () => {
      await using here = await place()
      await tasksOf(here).put(taskOf(1))
      await tasksOf(here).put(taskOf(2))
      assert.deepEqual(await tasksOf(here).load(), [taskOf(1), taskOf(2)])
    })

    it('stay however often they change', async () => {
      await using here = await place()
      const tasks = tasksOf(here)
      const puts = Array.from({ length: 3_000 }, (_, at) => tasks.put({ ...taskOf(1 + (at % 3)), durable: at }))
      await Promise.all(puts)
      const kept = await tasksOf(here).load()
      assert.deepEqual(
        kept.map(({ id, durable }) => [id, durable]),
        [
          [1, 2_997],
          [2, 2_998],
          [3, 2_999],
        ],
      )
    })
  })
}

function tasksOf(here: StatePlace): TaskStore {
  return here.state().tasks ?? assert.fail('it keeps no tasks')
}

/** A task that can be told from others. */
export function taskOf(id: number): StoredTask {
  const name = `folder/${id} "ä" \u200d`
  // A path can hold what a name can't.
  return { id, ref: `/home/${name}\u2028`, name, algorithm: 'sha256', state: 'open', size: id * 10, durable: id }
}
