import assert from 'node:assert/strict'
import type { ClientState, OutboxStore, QueuedMessage, Receipt, StoredTask, TaskStore } from '../ports/clientState.ts'
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
  'keep the results for the senders of the messages': async (place) => {
    const { receipts } = place.state()
    const result = 'line 1\nline 2 \u0000 ä'
    await receipts.put({ ...receiptOf(1), result }, 10)
    await receipts.put(receiptOf(2), 10)
    assert.deepEqual(await place.state().receipts.load(), [{ ...receiptOf(1), result }, receiptOf(2)])
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
    const ended = { ...taskOf(2), state: 'failed', reason: { code: 'bad-name', text: 'a\n"b"' }, endedAt: 5 } as const
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

/** Returns test cases of the guarantees of a client state for its outbox. */
export function outboxContract(name: string, place: () => Promise<ClientStateLocation>): readonly TestCase[] {
  return testCasesOf(`the outbox of a ${name} state`, outboxChecks, place)
}

const outboxChecks: Checks<ClientStateLocation> = {
  'is empty at first': async (place) => {
    assert.deepEqual(await outboxOf(place).load(), [])
  },
  'is kept over a restart, in ascending order': async (place) => {
    const outbox = outboxOf(place)
    assert.deepEqual(await outbox.load(), [])
    await Promise.all([1, 2, 3].map((number) => outbox.add(queuedMessageOf(number))))
    assert.deepEqual(await outboxOf(place).load(), [1, 2, 3].map(queuedMessageOf))
  },
  'keeps contents of any bytes and lengths': async (place) => {
    const outbox = outboxOf(place)
    const bytes = Uint8Array.from({ length: 65_537 }, (_, at) => at % 251)
    const messages = [0, 1, 2, 3, 256, bytes.length].map((length, at) => {
      return { ...queuedMessageOf(at + 1), body: bytes.slice(bytes.length - length) }
    })
    await Promise.all(messages.map((message) => outbox.add(message)))
    assert.deepEqual(await outboxOf(place).load(), messages)
  },
  'keeps the time until which the server remembers an id': async (place) => {
    const outbox = outboxOf(place)
    const changes = [1, 2, 3].map((number) => outbox.add(queuedMessageOf(number)))
    await Promise.all([...changes, outbox.mark([3, 1, 7], 1_000), outbox.mark([1], 2_000)])
    const [first, second, third] = await outboxOf(place).load()
    assert.deepEqual([first?.knownUntil, second?.knownUntil, third?.knownUntil], [2_000, undefined, 1_000])
  },
  'keeps no message that was removed': async (place) => {
    const outbox = outboxOf(place)
    const changes = [1, 2, 3].map((number) => outbox.add(queuedMessageOf(number)))
    await Promise.all([...changes, outbox.remove([1, 7]), outbox.remove([3])])
    assert.deepEqual(await outboxOf(place).load(), [queuedMessageOf(2)])
    await outboxOf(place).remove([2])
    assert.deepEqual(await outbox.load(), [])
  },
  'keeps its messages when a program that has not loaded them adds more': async (place) => {
    await outboxOf(place).add(queuedMessageOf(1))
    await outboxOf(place).add(queuedMessageOf(2))
    assert.deepEqual(await outboxOf(place).load(), [1, 2].map(queuedMessageOf))
  },
  'keeps its messages after any number of changes': async (place) => {
    const outbox = outboxOf(place)
    const large = (number: number) => ({ ...queuedMessageOf(number), body: new Uint8Array(10_000).fill(number) })
    for (let number = 1; number <= 400; number += 4) {
      const numbers = [number, number + 1, number + 2, number + 3]
      await Promise.all([...numbers.map((each) => outbox.add(large(each))), outbox.remove(numbers.slice(1))])
    }
    const left = Array.from({ length: 100 }, (_, at) => large(4 * at + 1))
    assert.deepEqual(await outboxOf(place).load(), left)
    await outbox.remove(left.slice(1).map(({ number }) => number))
    assert.deepEqual(await outboxOf(place).load(), left.slice(0, 1))
  },
}

function outboxOf(place: ClientStateLocation): OutboxStore {
  return place.state().outbox ?? assert.fail('the state has no outbox')
}

/** Returns a message that differs from those of other numbers. */
function queuedMessageOf(number: number): QueuedMessage {
  const id = number.toString(16).padStart(32, '0')
  const recipients = ['bob', `carol ${number} "ä"`]
  return { number, id, recipients, body: new TextEncoder().encode(`\0${number}`), queuedAt: number * 1_000 }
}
