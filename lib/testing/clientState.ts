import assert from 'node:assert/strict'
import type { ClientState, Receipt, StoredTask, TaskStore } from '../ports/clientState.ts'
import { type Checks, type TestCase, testCasesOf } from './testCases.ts'

/** The place of a client state, for one test case. */
export interface ClientStateLocation extends AsyncDisposable {
  /** Returns a state of this place. A second call stands for a restart of the program. */
  state(): ClientState
}

/** Returns a receipt that differs from those of other numbers. */
export function receiptOf(seq: number): Receipt {
  return { seq, sender: `bob ${seq} "ä"`, id: seq.toString(16).padStart(32, '0') }
}

const range = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, at) => receiptOf(first + at))

/** Returns the promises of a client state about receipts as test cases. */
export function receiptsContract(name: string, place: () => Promise<ClientStateLocation>): readonly TestCase[] {
  return testCasesOf(`the receipts of a ${name} state`, receiptChecks, place)
}

const receiptChecks: Checks<ClientStateLocation> = {
  'are empty at first': async (place) => {
    assert.deepEqual(await place.state().receipts.load(), [])
  },
  'are kept over a restart, the latest last': async (place) => {
    const { receipts } = place.state()
    await receipts.load()
    for (const receipt of range(1, 5)) await receipts.put(receipt, 10)
    assert.deepEqual(await place.state().receipts.load(), range(1, 5))
  },
  'include the latest, and not many more': async (place) => {
    const { receipts } = place.state()
    for (const receipt of range(1, 600)) await receipts.put(receipt, 3)
    const kept = await place.state().receipts.load()
    assert.deepEqual(kept.slice(-3), range(598, 600))
    assert.deepEqual(kept, range(601 - kept.length, 600))
    assert.ok(kept.length <= 300, `${kept.length} are kept`)
  },
  'stay when a program that has not loaded them adds more': async (place) => {
    await place.state().receipts.put(receiptOf(1), 3)
    await place.state().receipts.put(receiptOf(2), 3)
    assert.deepEqual(await place.state().receipts.load(), range(1, 2))
  },
  'keep the number that was requested last': async (place) => {
    const { receipts } = place.state()
    for (const receipt of range(1, 4)) await receipts.put(receipt, 2)
    for (const receipt of range(5, 9)) await receipts.put(receipt, 5)
    assert.deepEqual((await place.state().receipts.load()).slice(-5), range(5, 9))
  },
}

/** Returns the promises of a client state about tasks as test cases. */
export function tasksContract(name: string, place: () => Promise<ClientStateLocation>): readonly TestCase[] {
  return testCasesOf(`the tasks of a ${name} state`, taskChecks, place)
}

const taskChecks: Checks<ClientStateLocation> = {
  'are empty at first': async (place) => {
    assert.deepEqual(await tasksOf(place).load(), [])
  },
  'are kept over a restart by rising id, in their last state': async (place) => {
    const tasks = tasksOf(place)
    await Promise.all([3, 1, 2].map((id) => tasks.put(taskOf(id))))
    const ended = { ...taskOf(2), state: 'failed', why: { code: 'bad-name', text: 'a\n"b"' }, endedAt: 5 } as const
    await tasks.put(ended)
    assert.deepEqual(await tasksOf(place).load(), [taskOf(1), ended, taskOf(3)])
  },
  'are gone after they were removed': async (place) => {
    const tasks = tasksOf(place)
    await Promise.all([tasks.put(taskOf(1)), tasks.put(taskOf(2)), tasks.remove(1), tasks.remove(7)])
    assert.deepEqual(await tasksOf(place).load(), [taskOf(2)])
  },
  'stay when a program that has not loaded them adds more': async (place) => {
    await tasksOf(place).put(taskOf(1))
    await tasksOf(place).put(taskOf(2))
    assert.deepEqual(await tasksOf(place).load(), [taskOf(1), taskOf(2)])
  },
  'stay after any number of changes': async (place) => {
    const tasks = tasksOf(place)
    const changes = Array.from({ length: 3_000 }, (_, at) => ({ ...taskOf(1 + (at % 3)), durable: at }))
    await Promise.all(changes.map((task) => tasks.put(task)))
    assert.deepEqual(await tasksOf(place).load(), changes.slice(-3))
  },
}

function tasksOf(place: ClientStateLocation): TaskStore {
  return place.state().tasks ?? assert.fail('it keeps no tasks')
}

/** Returns a task that differs from those of other ids. */
export function taskOf(id: number): StoredTask {
  const name = `folder/${id} "ä" \u200d`
  // A path may contain characters that a name may not.
  return { id, ref: `/home/${name}\u2028`, name, algorithm: 'sha256', state: 'open', size: id * 10, durable: id }
}
