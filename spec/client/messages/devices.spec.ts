import assert from 'node:assert/strict'
import { memory } from '../../../lib/adapters/memory/memoryStorage.ts'
import { connect, createClient, OspError, serve } from '../../../lib/index.ts'
import { memoryTransport } from '../../../lib/memory.ts'
import { Recipient } from '../../support/recipients.ts'
import { ScriptedServer } from '../../support/scriptedServer.ts'
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

spec('the devices of a client', (it) => {
  it('are listed, and removed unless they are receiving messages', async () => {
    await using rig = await served()
    const { server } = rig
    await using bob = await connect(rig.listen, { user: 'bob' })
    assert.deepEqual(await bob.devices.list(), [])
    const before = Date.now()
    {
      await using laptop = new Recipient(await rig.device('laptop'))
      await laptop.client.presence.ready()
    }
    await using phone = new Recipient(await rig.device('phone'))
    await phone.client.presence.ready()
    await server.send('alice', ['bob'], 'one')
    await phone.got('one')
    await assert.rejects(bob.devices.remove('phone'), { code: 'device-listening' })
    const [laptop, listening] = await bob.devices.list()
    assert.deepEqual([laptop?.name, laptop?.isListening, laptop?.waiting], ['laptop', false, 1])
    assert.deepEqual([listening?.name, listening?.isListening], ['phone', true])
    const seenAt = laptop?.seenAt.getTime() ?? 0
    assert.ok(seenAt >= before - 1 && seenAt <= Date.now(), `${seenAt}`)
    assert.equal(await bob.devices.remove('laptop'), true)
    assert.equal(await bob.devices.remove('laptop'), false)
    assert.deepEqual(
      (await bob.devices.list()).map(({ name }) => name),
      ['phone'],
    )
  })

  it('have valid names, in calls and in replies', async () => {
    await using rig = await served()
    await using bob = await connect(rig.listen, { user: 'bob' })
    await assert.rejects(bob.devices.remove('a/b'), { code: 'bad-name' })
    await assert.rejects(bob.devices.remove(7 as never), { code: 'usage' })
    await assert.rejects(bob.devices.list({ signal: 7 as never }), { code: 'usage' })
    await using scripted = new ScriptedServer()
    const client = scripted.client()
    const listing = client.devices.list()
    const link = await scripted.registered()
    const device = { device: '../x', seenAt: 0, listening: 0, waiting: 0 }
    link.reply(await link.expect('ListDevicesReq'), { event: 'ListDevicesAck', devices: [device] })
    await assert.rejects(listing, { code: 'malformed' })
  })

  it('are requested again on the next link', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const removing = client.devices.remove('')
    const link = await server.registered()
    const asked = await link.expect('RemoveDeviceReq')
    assert.equal(asked.message.device, '')
    link.break()
    const second = await server.registered()
    second.reply(await second.expect('RemoveDeviceReq'), { event: 'RemoveDeviceAck', removed: 0 })
    assert.equal(await removing, false)
  })
})

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
