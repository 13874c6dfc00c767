import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { StoredTasks } from '../../../lib/client/tasks/storedTasks.ts'
import type { StoredTask, TaskStore } from '../../../lib/ports/clientState.ts'
import { taskOf } from '../../../lib/testing/clientState.ts'
import { spec } from '../../support/spec.ts'

/** A store in memory. */
function memoryTasks(...tasks: readonly StoredTask[]): TaskStore & { readonly kept: Map<number, StoredTask> } {
  const kept = new Map(tasks.map((task) => [task.id, task]))
  return {
    kept,
    load: async () => [...kept.values()],
    put: async (task) => void kept.set(task.id, task),
    remove: async (id) => void kept.delete(id),
  }
}

async function open(store: TaskStore): Promise<StoredTasks> {
  const tasks = new StoredTasks({ tasks: store }, { ...nodePlatform(), clock: { wallTime: () => 1_000 } }, () => {})
  await tasks.open()
  return tasks
}

const taskIn = (id: number, state: StoredTask['state']): StoredTask => ({ ...taskOf(id), state })

const all = () =>
  (['open', 'paused', 'cancelling', 'failed', 'done'] as const).map((state, at) => taskIn(at + 1, state))

const statesOf = ({ kept }: { kept: ReadonlyMap<number, StoredTask> }) => [...kept.values()].map(({ state }) => state)

spec('a list of tasks that no client has restored', (it) => {
  it('is paused and resumed if the state of each task allows it', async () => {
    const store = memoryTasks(...all())
    const tasks = await open(store)
    await tasks.pause()
    assert.deepEqual(statesOf(store), ['paused', 'paused', 'cancelling', 'failed', 'done'])
    await tasks.resume()
    assert.deepEqual(statesOf(store), ['open', 'open', 'cancelling', 'failed', 'done'])
    await tasks.resume([4, 5])
    assert.deepEqual(statesOf(store), ['open', 'open', 'cancelling', 'open', 'done'])
  })

  it('stores cancellations, except of tasks that are done', async () => {
    const store = memoryTasks(...all())
    const tasks = await open(store)
    const cancelled = await tasks.cancel([1, 2, 4, 5])
    assert.deepEqual(
      cancelled.map(({ id, state }) => `${id} ${state}`),
      ['1 cancelling', '2 cancelling', '4 cancelling', '5 done'],
    )
    assert.deepEqual(statesOf(store), ['cancelling', 'cancelling', 'cancelling', 'cancelling', 'done'])
  })

  it('refuses a file that an unfinished task is sending to other users', async () => {
    const tasks = await open(memoryTasks())
    const add = async (to?: readonly string[]) => {
      const [added] = await tasks.add([{ ref: '/home/a', name: 'a', to }])
      assert.ok(added)
      return 'failure' in added ? added.failure.message : added.id
    }
    assert.equal(await add(['bob', 'carol']), 1)
    assert.equal(await add(['carol', 'bob', 'bob']), 1)
    assert.equal(await add(), 1)
    assert.match(`${await add(['dave'])}`, /^task 1 is already sending "a" to bob, carol; send it again when/u)
  })

  it('accepts or refuses each added file separately', async () => {
    const store = memoryTasks(taskIn(1, 'paused'), taskIn(2, 'cancelling'))
    const tasks = await open(store)
    const added = await tasks.add([
      { ref: '/home/a', name: 'a', digest: 'md5' },
      { ref: '/home/b', name: 'a' },
      { ref: taskOf(1).ref, name: taskOf(1).name },
      { ref: taskOf(2).ref, name: taskOf(2).name },
      { ref: '/home/c', name: 'c:c' },
    ])
    assert.deepEqual(
      added.map((each) => ('id' in each ? each.id : each.failure.code)),
      [3, 'usage', 1, 'usage', 'bad-name'],
    )
    const { algorithm, state, size } = store.kept.get(3) ?? assert.fail()
    assert.deepEqual([algorithm, state, size], ['md5', 'open', 0])
    assert.equal(store.kept.get(1)?.state, 'open')
  })

  it('rejects unknown ids', async () => {
    const tasks = await open(memoryTasks(taskIn(1, 'open')))
    for (const verb of ['pause', 'resume', 'cancel'] as const) {
      await assert.rejects(tasks[verb]([1, 7]), { code: 'usage', message: 'there is no upload 7' })
    }
    assert.equal((await tasks.list())[0]?.state, 'waiting')
  })
})
