import assert from 'node:assert/strict'
import { OspError } from '../../../lib/errors.ts'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { MemoryTasks } from '../../support/memoryTasks.ts'
import { handled, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'
import { until } from '../../support/until.ts'
import { UploadRig } from '../../support/uploadRig.ts'

/** A server that accepts every client while it is open. */
function rigBehind(door: { readonly isOpen: boolean }): Promise<UploadRig> {
  const authenticator = {
    async authenticate({ user }: { user: string }) {
      if (door.isOpen) return { user }
      throw new OspError('unauthorized', `${user} may not come in`)
    },
    knows: async () => true,
  }
  return UploadRig.start({}, { authenticator })
}

spec('a client whose link the server ends because the users have changed', (it) => {
  it('says HELLO again, with the present token', async () => {
    await using server = new ScriptedServer()
    const tokens = ['one', 'two']
    const client = server.client({ token: async () => tokens.shift() ?? '' })
    const ready = handled(client.presence.ready())
    const first = await server.link()
    first.goodbye('unauthorized')
    const second = await server.registered()
    await ready
    assert.deepEqual([client.status, second.token], ['online', 'two'])
  })

  it('is permanently refused if the server does not accept it again', async () => {
    const door = { isOpen: true }
    await using rig = await rigBehind(door)
    const client = rig.client()
    await client.online()
    door.isOpen = false
    rig.transport.cut()
    await until(client, 'status', () => client.status === 'refused')
    await assert.rejects(client.online(), { code: 'unauthorized' })
  })
})

spec('an upload of a client that the server refuses', (it) => {
  it('fails, and stays in the list for a client that is accepted', async () => {
    const door = { isOpen: false }
    await using rig = await rigBehind(door)
    const tasks = new MemoryTasks()
    const client = rig.client({ state: tasks.state })
    const upload = await client.upload(tasks.source(memorySource('a', patterned(1_000))))
    await assert.rejects(upload.done, { code: 'unauthorized' })
    await client.close()
    assert.deepEqual(tasks.list, ['1 a open'])
    door.isOpen = true
    const later = rig.client({ state: tasks.state })
    const [again] = await later.uploads.restore()
    await again?.done
    await later.close()
    assert.deepEqual(tasks.list, ['1 a done'])
  })
})
