import assert from 'node:assert/strict'
import { memory } from '../../../lib/adapters/memory/memoryStorage.ts'
import { connect, createClient, OspError, serve } from '../../../lib/index.ts'
import { memoryTransport } from '../../../lib/memory.ts'
import { Recipient } from '../../support/recipients.ts'
import { spec } from '../../support/spec.ts'

/** A server in this process. */
async function served() {
  const listen = memoryTransport()
  const server = await serve({ listen, storage: memory(), limits: { devicesPerUser: 2 } })
  return {
    server,
    device: (device: string) => connect(listen, { user: 'bob', device }),
    listen,
    [Symbol.asyncDispose]: () => server.close(),
  }
}

spec('a client with a device', (it) => {
  it('receives every message exactly once, whether or not other devices have received it', async () => {
    await using rig = await served()
    const { server } = rig
    await using phone = new Recipient(await rig.device('phone'))
    {
      await using laptop = new Recipient(await rig.device('laptop'))
      await Promise.all([phone, laptop].map(({ client }) => client.presence.ready()))
      await server.send('alice', ['bob'], 'one')
      await Promise.all([phone.got('one'), laptop.got('one')])
    }
    await server.send('alice', ['bob'], 'two')
    await phone.got('two')
    await using laptop = new Recipient(await rig.device('laptop'))
    await laptop.got('two')
    assert.deepEqual([phone.texts, laptop.texts], [['one', 'two'], ['two']])
  })

  it('is refused by the server beyond the maximum number of devices', async () => {
    await using rig = await served()
    for (const device of ['phone', 'laptop']) {
      await using client = await rig.device(device)
      client.receive(() => {})
      await client.presence.ready()
    }
    await using third = await rig.device('tablet')
    const receiver = third.receive(() => {})
    await assert.rejects(receiver.done, { code: 'too-many-devices' })
  })

  it('needs a valid name', async () => {
    await using rig = await served()
    for (const [device, code] of [
      ['', 'bad-name'],
      ['a/b', 'bad-name'],
      [7, 'usage'],
    ]) {
      assert.throws(
        () => createClient(rig.listen, { user: 'bob', device: device as string }),
        (error) => error instanceof OspError && error.code === code,
      )
    }
  })
})
