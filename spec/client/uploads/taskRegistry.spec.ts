import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { TaskRegistry } from '../../../lib/client/uploads/taskRegistry.ts'
import { clientLimits } from '../../../lib/limits.ts'
import type { StoredTask } from '../../../lib/ports/clientState.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { taskOf } from '../../../lib/testing/clientState.ts'
import { MemoryTasks } from '../../support/memoryTasks.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const now = 1_000_000_000
const { finishedUploads, failedTasks, endedTaskMs } = clientLimits

const open = async (store: MemoryTasks) => {
  const tasks = new TaskRegistry({ tasks: store }, { ...nodePlatform(), clock: { wallTime: () => now } }, () => {})
  await tasks.open()
  return tasks
}

const ended = (id: number, state: 'done' | 'failed', endedAt = now): StoredTask => ({ ...taskOf(id), state, endedAt })

/** A store with these tasks. */
function storeOf(tasks: Iterable<StoredTask>): MemoryTasks {
  const store = new MemoryTasks()
  for (const task of tasks) store.kept.set(task.id, task)
  return store
}

const ids = (store: MemoryTasks) => [...store.kept.keys()].sort((a, b) => a - b)

const range = (first: number, count: number) => Array.from({ length: count }, (_, at) => first + at)

spec('a new task', (it) => {
  it('is accepted after it was stored', async () => {
    const store = new MemoryTasks()
    const storing = deferred<void>()
    store.put = () => storing.promise
    const tasks = await open(store)
    let isAccepted = false
    const accepted = tasks.accept([taskOf(1)]).then(() => {
      isAccepted = true
    })
    await turn()
    assert.equal(isAccepted, false)
    storing.resolve()
    await accepted
  })
})

spec('a failed task', (it) => {
  it('is kept independently of the number of tasks that are done later', async () => {
    const store = new MemoryTasks()
    const tasks = await open(store)
    const last = finishedUploads + 6
    for (const id of range(1, last)) await tasks.accept([{ ...taskOf(id), state: 'open' }])
    await tasks.change(1, { state: 'failed' })
    for (const id of range(2, last - 1)) await tasks.change(id, { state: 'done' })
    await tasks.idle()
    assert.deepEqual(ids(store), [1, ...range(last - finishedUploads + 1, finishedUploads)])
  })

  it('is kept by the next program in the order in which the tasks have ended', async () => {
    const last = finishedUploads + 3
    const done = range(2, last - 1).map((id) => ended(id, 'done', id === last ? now - 10 : now))
    const store = storeOf([ended(1, 'failed'), ...done])
    const tasks = await open(store)
    await tasks.idle()
    assert.deepEqual(ids(store), [1, ...range(last - finishedUploads, finishedUploads)])
    assert.deepEqual(
      [...tasks].map(({ id }) => id),
      ids(store),
    )
  })

  it('is removed after a day, or if more than 10,000 tasks have failed later', async () => {
    const old = now - endedTaskMs - 1
    const store = storeOf([
      ended(1, 'failed', old),
      ended(2, 'done', old),
      ...range(3, failedTasks + 1).map((id) => ended(id, 'failed')),
    ])
    await (await open(store)).idle()
    assert.deepEqual(ids(store), range(4, failedTasks))
  })

  it('is not counted any more when it is retried', async () => {
    const store = storeOf(range(1, failedTasks).map((id) => ended(id, 'failed')))
    const tasks = await open(store)
    await tasks.change(1, { state: 'open' })
    await tasks.accept([{ ...taskOf(failedTasks + 1), state: 'open' }])
    await tasks.change(failedTasks + 1, { state: 'failed' })
    await tasks.idle()
    assert.deepEqual(ids(store), range(1, failedTasks + 1))
    await tasks.change(1, { state: 'failed' })
    await tasks.idle()
    assert.deepEqual(ids(store), [1, ...range(3, failedTasks - 1)])
  })
})
