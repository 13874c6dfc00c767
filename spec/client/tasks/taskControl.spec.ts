import assert from 'node:assert/strict'
import { type Client, createClient, OspError } from 'ospd'
import { type JoinedTasks, openTasks, type ServedTasks, stateDirectory, taskControl, tcp } from 'ospd/node'
import { askControl } from '../../../lib/adapters/controlSocket/controlSocket.ts'
import { answers, readAnswer } from '../../../lib/client/tasks/requests.ts'
import { type Place, place } from '../../support/commands.ts'
import { served } from '../../support/served.ts'
import { spec } from '../../support/spec.ts'

interface Bench {
  readonly at: Place
  readonly state: string
  /** A client with the state. */
  client(): Client
}

/** Returns a spec with clients of one state directory, with or without a server. */
function within(run: (bench: Bench) => Promise<void>, hasServer = true): () => Promise<void> {
  return async () => {
    await using at = await place()
    await using its = await served()
    if (!hasServer) await its.server.close()
    const state = `${at.path}/state`
    const clients: Client[] = []
    const client = () => {
      const one = createClient(tcp({ port: its.port }), { user: 'alice', state: stateDirectory(state) })
      clients.push(one)
      return one
    }
    await run({ at, state, client })
    for (const one of clients) await one.close()
  }
}

function assertServed(tasks: ServedTasks | JoinedTasks): asserts tasks is ServedTasks {
  assert.equal(tasks.joined, false)
}

function assertJoined(tasks: ServedTasks | JoinedTasks): asserts tasks is JoinedTasks {
  assert.equal(tasks.joined, true)
}

const files = (count: number) => Array.from({ length: count }, (_, at) => ({ ref: `/nowhere/${at}`, name: `${at}` }))

spec('the control of a list of tasks', (it) => {
  it(
    'adds and lists any number of tasks, also in a program that sends',
    within(async ({ at, state, client }) => {
      const ref = `${at.path}/${await at.write('a', 'a')}`
      const control = taskControl(state)
      assert.equal(control.sending, undefined)
      const stored = await control.add(files(2_500))
      assert.equal(control.sending, false)
      assert.deepEqual(
        stored.map((each) => 'id' in each && each.id),
        Array.from({ length: 2_500 }, (_, at) => at + 1),
      )
      await using tasks = await openTasks(client(), state)
      assertServed(tasks)
      const names = Array.from({ length: 250 }, (_, at) => `${'long'.repeat(50)}${at}`)
      const added = await control.add(names.map((name) => ({ ref, name })))
      assert.equal(control.sending, true)
      assert.deepEqual(added.at(-1), { id: 2_750 })
      const listed = await control.list()
      assert.deepEqual(
        listed.slice(-250).map(({ name }) => name),
        names,
      )
      assert.equal(listed.length, 2_750)
    }, false),
  )

  it(
    'refuses invalid requests',
    within(async ({ state, client }) => {
      await using _ = await openTasks(client(), state)
      const refused = [
        { do: 'pause', ids: [0] },
        { do: 'pause', ids: '1' },
        { do: 'pause', ids: { length: { toString: 1 } } },
        { do: 'remove' },
        {},
        { do: 'add', tasks: [{ ref: 'relative', name: 'a' }] },
        { do: 'cancel' },
      ]
      for (const request of refused) await assert.rejects(askControl(state, request), { code: 'malformed' })
      const unknown = { code: 'usage', message: 'there is no upload 7' }
      await assert.rejects(taskControl(state).cancel([7]), unknown)
      await assert.rejects(taskControl(state).pause([7]), unknown)
    }),
  )

  it(
    'lets many programs change the list at once without losses',
    within(async ({ state }) => {
      const all = files(20)
      await Promise.all(all.map((file) => taskControl(state).add([file])))
      const tasks = await taskControl(state).list()
      assert.deepEqual(tasks.map(({ name }) => name).sort(), all.map(({ name }) => name).sort())
    }, false),
  )

  it(
    'passes no request to a program that is about to end',
    within(async ({ state, client }) => {
      const one = client()
      const tasks = await openTasks(one, state)
      assertServed(tasks)
      assert.equal(tasks.end(), true)
      await assert.rejects(askControl(state, { do: 'list', after: 0 }), { code: 'shutting-down' })
      const added = taskControl(state).add(files(1))
      await one.close()
      await tasks.close()
      assert.deepEqual(await added, [{ id: 1 }])
    }, false),
  )
})

spec('a program that has joined another one', (it) => {
  it(
    'receives the ends of uploads that it has added, and the other program knows that',
    within(async ({ at, state, client }) => {
      await at.write('a', 'hello')
      const one = client()
      await using first = await openTasks(one, state)
      await using second = await openTasks(client(), state)
      assertServed(first)
      assertJoined(second)
      const source = (name: string) => stateDirectory(state).reopen(`${at.path}/${name}`)
      const [a, missing] = await Promise.all([second.add(source('a')), second.add(source('missing'))])
      await assert.rejects(second.add(source('x'), { name: 'a:b' }), { code: 'bad-name' })
      const { size, storedName } = await a.done
      assert.deepEqual(
        { size, storedName, transferred: a.transferred, phase: a.phase },
        {
          size: 5,
          storedName: 'a',
          transferred: 5,
          phase: 'done',
        },
      )
      await assert.rejects(missing.done, { code: 'source-missing' })
      assert.equal(first.isAwaited(a.id), true)
    }),
  )

  it(
    'does not await its uploads after it has left; they fail with `closed` there',
    within(async ({ at, state, client }) => {
      await at.write('a', 'hello')
      const one = client()
      await using first = await openTasks(one, state)
      assertServed(first)
      const second = await openTasks(client(), state)
      assertJoined(second)
      const upload = await second.add(stateDirectory(state).reopen(`${at.path}/a`))
      await second.close()
      await assert.rejects(upload.done, { code: 'closed' })
      while (first.isAwaited(upload.id)) await new Promise((resolve) => setImmediate(resolve))
      assert.equal((await one.uploads.tasks())[0]?.state, 'waiting')
    }, false),
  )

  it(
    'rejects additions when the other program has ended',
    within(async ({ at, state, client }) => {
      await at.write('a', 'hello')
      const one = client()
      const first = await openTasks(one, state)
      const second = await openTasks(client(), state)
      assertJoined(second)
      const source = stateDirectory(state).reopen(`${at.path}/a`)
      const upload = await second.add(source)
      await one.close()
      await first.close()
      await assert.rejects(upload.done, { code: 'closed' })
      await assert.rejects(second.add(source), (error) => error instanceof OspError && error.retry === 'later')
      assert.deepEqual(
        (await taskControl(state).list()).map(({ name, state }) => `${name} ${state}`),
        ['a waiting'],
      )
    }, false),
  )
})

spec('the end of an upload', (it) => {
  it('can name the messages about the file', () => {
    const notice = { id: '00'.repeat(16), recipients: ['bob'], receipt: true }
    const digest = { algorithm: 'sha256', digest: '00' } as const
    const file = { name: 'a', storedName: 'a', replaced: false, size: 1, ...digest, notice, notified: notice }
    const ended = { ended: 1, transferred: 0, file }
    assert.deepEqual(readAnswer(answers.await, ended), ended)
  })
})
