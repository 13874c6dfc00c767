import assert from 'node:assert/strict'
import type { Client } from '../../../lib/client/client.ts'
import { memoryState } from '../../../lib/client/runningClient.ts'
import { clientLimits } from '../../../lib/limits.ts'
import type { ClientState, Receipt } from '../../../lib/ports/clientState.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { delivery, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const nothing = () => {}

spec('a receiver', (it) => {
  it('is the only one until it is disposed', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const receiver = client.receive(nothing)
    assert.throws(() => client.receive(nothing), { code: 'usage' })
    assert.throws(() => client.messages(), { code: 'usage' })
    await receiver[Symbol.asyncDispose]()
    await receiver.done
    await receiver[Symbol.asyncDispose]()
    const messages = client.messages()
    assert.throws(() => client.receive(nothing), { code: 'usage' })
    await messages.return?.()
    client.receive(nothing)
  })

  it('needs a function', async () => {
    await using server = new ScriptedServer()
    assert.throws(() => server.client().receive('print' as never), { code: 'usage' })
  })

  it('that is disposed lets the running handler end, and acknowledges only its message', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const handled = deferred<void>()
    const came: number[] = []
    const receiver = client.receive(({ seq }) => {
      came.push(seq)
      return handled.promise
    })
    const link = await server.listening()
    link.ask(delivery(1))
    link.ask(delivery(2))
    await turn()
    const disposed = receiver[Symbol.asyncDispose]()
    await link.quiet()
    assert.throws(() => client.receive(nothing), { code: 'usage' })
    handled.resolve()
    await disposed
    assert.equal((await link.expect('DeliverMsgAck')).message.mailboxSeq, 1)
    await link.register(0)
    await link.quiet()
    assert.deepEqual(came, [1])
    client.receive(({ seq }) => void came.push(seq))
    assert.equal((await link.expect('DeliverMsgAck')).message.mailboxSeq, 2)
    await link.register(1)
    assert.deepEqual(came, [1, 2])
  })

  it('that is disposed while it waits to repeat a message leaves the message to the next receiver', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    let tries = 0
    const receiver = client.receive(() => {
      tries++
      throw new Error('a handler has a bug')
    })
    const link = await server.listening()
    link.ask(delivery(1))
    await link.quiet()
    await receiver[Symbol.asyncDispose]()
    await link.register(0)
    await server.pass(clientLimits.handlerMostMs)
    assert.equal(tries, 1)
    client.receive(nothing)
    await link.expect('DeliverMsgAck')
    await link.register(1)
  })

  it('ends when its client is closed, which waits a short time for the handler', async () => {
    await using server = new ScriptedServer()
    const handled = deferred<void>()
    const clients: Client[] = [server.client(), server.client()]
    for (const promise of [handled.promise, new Promise<void>(nothing)]) {
      const client = clients.shift() as Client
      const receiver = client.receive(() => promise)
      const link = await server.listening()
      link.ask(delivery(1))
      await turn()
      const closed = client.close()
      if (promise === handled.promise) {
        await turn()
        handled.resolve()
        await closed
        await link.expect('DeliverMsgAck')
      } else {
        await server.pass(clientLimits.closeMs)
        await closed
        await link.quiet()
      }
      await receiver.done
    }
  })
})

/** A state in memory that fails on demand. */
class TroubledState implements ClientState {
  readonly kept: (readonly [Receipt, number])[] = []
  why: Error | undefined
  load = async (): Promise<readonly Receipt[]> => []
  readonly receipts = {
    load: () => this.load(),
    put: async (receipt: Receipt, most: number) => {
      if (this.why) throw this.why
      this.kept.push([receipt, most])
    },
  }
}

spec('the receipt of a message', (it) => {
  const receipt = { seq: 1, sender: 'bob', id: `${'0'.repeat(31)}1` }

  it('is stored before the message is acknowledged; the latest eight windows are kept', async () => {
    await using server = new ScriptedServer()
    const state = new TroubledState()
    server.client({ state }).receive(nothing)
    const link = await server.listening({ window: 5 })
    link.ask(delivery(1))
    await link.expect('DeliverMsgAck')
    assert.deepEqual(state.kept, [[receipt, 8 * 5]])
  })

  it('is kept among as many after a lost link, before the next link has granted a window', async () => {
    await using server = new ScriptedServer()
    const state = new TroubledState()
    const handled = deferred<void>()
    server.client({ state }).receive(() => handled.promise)
    const link = await server.listening({ window: 5 })
    link.ask(delivery(1))
    await turn()
    link.break()
    await server.pass(clientLimits.reconnectMostMs)
    const next = await server.link()
    await next.expect('RegistReq')
    handled.resolve()
    await turn()
    assert.deepEqual(state.kept, [[receipt, 8 * 5]])
  })

  it('waits for the window: a message that arrives before is handed over after it', async () => {
    await using server = new ScriptedServer({ reliable: false })
    const state = new TroubledState()
    const came: number[] = []
    server.client({ state }).receive(({ seq }) => void came.push(seq))
    const link = await server.link()
    const asked = await link.expect('RegistReq')
    link.ask(delivery(1))
    await turn()
    assert.deepEqual(came, [])
    link.reply(asked, { event: 'RegistAck', instance: 7, listVersion: 1, deliveryWindow: 5 })
    link.list(1, [])
    await link.expect('DeliverMsgAck')
    assert.deepEqual([came, state.kept], [[1], [[receipt, 8 * 5]]])
  })

  it('that cannot be stored is tried again, after longer and longer waits, and the message is not acknowledged before', async () => {
    await using server = new ScriptedServer()
    const state = new TroubledState()
    state.why = new Error('the disk is full')
    let came = 0
    server.client({ state }).receive(() => void came++)
    const link = await server.listening()
    link.ask(delivery(1))
    await link.quiet()
    await server.pass(100)
    await link.quiet()
    state.why = undefined
    await server.pass(199)
    await link.quiet()
    await server.pass(1)
    await link.expect('DeliverMsgAck')
    assert.equal(came, 1)
    const fields = { level: 'error', event: 'receipt-not-stored', seq: 1, text: 'the disk is full' }
    assert.deepEqual(server.log, [fields, fields])
  })

  it('of an earlier program has the message acknowledged and not handed over', async () => {
    await using server = new ScriptedServer()
    const state = memoryState()
    await state.receipts.put(receipt, 5)
    server.client({ state }).receive(({ seq }) => assert.equal(seq, 2))
    const link = await server.listening()
    for (const seq of [1, 2]) {
      link.ask(delivery(seq))
      assert.equal((await link.expect('DeliverMsgAck')).message.mailboxSeq, seq)
    }
  })

  it('is loaded before the client asks for messages', async () => {
    await using server = new ScriptedServer()
    const state = new TroubledState()
    const loaded = deferred<readonly Receipt[]>()
    state.load = () => loaded.promise
    server.client({ state }).receive(() => assert.fail('it was handed over'))
    const link = await server.link()
    await link.quiet()
    loaded.resolve([receipt])
    await link.register(1)
    link.ask(delivery(1))
    await link.expect('DeliverMsgAck')
  })

  it('that cannot be read ends the receiver with the error', async () => {
    await using server = new ScriptedServer()
    const state = new TroubledState()
    state.load = () => Promise.reject(new Error('the disk is broken'))
    const client = server.client({ state })
    const ended = assert.rejects(client.receive(nothing).done, { code: 'internal', message: 'the disk is broken' })
    const link = await server.registered(0)
    await ended
    state.load = async () => []
    client.receive(nothing)
    await link.register(1)
  })
})
