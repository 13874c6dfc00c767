import assert from 'node:assert/strict'
import type { Message } from '../../../lib/client/messages/message.ts'
import { clientLimits, fixed } from '../../../lib/limits.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { hex } from '../../../lib/runtime/hex.ts'
import { encodeBody } from '../../../lib/wire/messageBody.ts'
import { idOf } from '../../support/messageClient.ts'
import { delivery, deliveryOf, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const bug = () => {
  throw new Error('a handler has a bug')
}

spec('a delivered message', (it) => {
  it('is handed over unchanged, and acknowledged when the handler has returned', async () => {
    await using server = new ScriptedServer()
    const handled = deferred<void>()
    const came: Message[] = []
    server.client().receive((message) => {
      came.push(message)
      return handled.promise
    })
    const link = await server.listening()
    const content = new TextEncoder().encode('\uFEFFgrüß dich')
    const seq = link.ask(delivery(5, { content, attempt: 2 }))
    await link.quiet()
    const [message] = came
    assert.deepEqual(
      [message?.id, message?.seq, message?.from, message?.sentAt, message?.content, message?.text(), message?.attempt],
      [hex(idOf(5)), 5, 'bob', new Date(1_000), content, '\uFEFFgrüß dich', 2],
    )
    handled.resolve()
    const { message: ack, frame } = await link.expect('DeliverMsgAck')
    assert.deepEqual([ack.mailboxSeq, frame.seq], [5, seq])
  })

  it('has its content in memory of its own, which the application may transfer', async () => {
    await using server = new ScriptedServer()
    const texts: string[] = []
    server.client().receive(({ content, text }) => {
      assert.equal(content.buffer.byteLength, content.length)
      texts.push(text())
      structuredClone(content, { transfer: [content.buffer as ArrayBuffer] })
    })
    const link = await server.listening()
    link.ask(deliveryOf([1, 2, 3]))
    await link.expect('DeliverMsgAck')
    assert.deepEqual(texts, ['1', '2', '3'])
  })

  it('has a text even if its content is not UTF-8', async () => {
    await using server = new ScriptedServer()
    const texts: string[] = []
    server.client().receive((message) => void texts.push(message.text()))
    const link = await server.listening()
    link.ask(delivery(1, { content: Uint8Array.of(0x61, 0xff) }))
    await link.expect('DeliverMsgAck')
    assert.deepEqual(texts, ['a\uFFFD'])
  })

  it('is acknowledged once more if it arrives again at any moment of its acknowledgement', async () => {
    for (let steps = 0; steps < 32; steps++) {
      await using server = new ScriptedServer()
      server.client().receive(() => {})
      const link = await server.listening()
      const first = link.ask(delivery(1))
      for (let step = 0; step < steps; step++) await undefined
      const again = link.ask(delivery(1))
      const answered = [await link.expect('DeliverMsgAck'), await link.expect('DeliverMsgAck')]
      assert.deepEqual(answered.map(({ frame }) => frame.seq).sort(), [first, again])
    }
  })

  it('waits until the message before was handled', async () => {
    await using server = new ScriptedServer()
    const handled = [deferred<void>(), deferred<void>()]
    const came: number[] = []
    server.client().receive(({ seq }) => {
      came.push(seq)
      return handled[seq - 1]?.promise
    })
    const link = await server.listening()
    link.ask(delivery(1))
    link.ask(delivery(2))
    await link.quiet()
    assert.deepEqual(came, [1])
    handled[0]?.resolve()
    assert.equal((await link.expect('DeliverMsgAck')).message.mailboxSeq, 1)
    await turn()
    assert.deepEqual(came, [1, 2])
    handled[1]?.resolve()
    assert.equal((await link.expect('DeliverMsgAck')).message.mailboxSeq, 2)
  })

  it('twice on the same link is handed over once, and both requests are answered', async () => {
    await using server = new ScriptedServer()
    const handled = deferred<void>()
    let came = 0
    server.client().receive(() => {
      came++
      return handled.promise
    })
    const link = await server.listening()
    const first = link.ask(delivery(1))
    await turn()
    const second = link.ask(delivery(1, { attempt: 2 }))
    handled.resolve()
    const seqs = [(await link.expect('DeliverMsgAck')).frame.seq, (await link.expect('DeliverMsgAck')).frame.seq]
    assert.deepEqual([seqs, came], [[first, second], 1])
  })
})

spec('a message whose link is lost while it is handed over', (it) => {
  it('stays with the handler, and is acknowledged if it arrives again meanwhile', async () => {
    await using server = new ScriptedServer()
    const handled = deferred<void>()
    const came: number[] = []
    server.client().receive(({ seq }) => {
      came.push(seq)
      return handled.promise
    })
    const first = await server.listening()
    first.ask(delivery(1))
    first.ask(delivery(2))
    await turn()
    first.break()
    const second = await server.listening()
    const again = second.ask(delivery(1, { attempt: 2 }))
    await second.quiet()
    handled.resolve()
    assert.equal((await second.expect('DeliverMsgAck')).frame.seq, again)
    second.ask(delivery(2))
    await second.expect('DeliverMsgAck')
    assert.deepEqual(came, [1, 2])
  })

  it('is acknowledged by its receipt if it arrives again later, but another message at its position is handed over', async () => {
    await using server = new ScriptedServer()
    const handled = deferred<void>()
    const came: string[] = []
    server.client().receive((message) => {
      came.push(`${message.from} ${message.text()}`)
      return handled.promise
    })
    const first = await server.listening()
    first.ask(delivery(1))
    await turn()
    first.break()
    handled.resolve()
    const second = await server.listening()
    second.ask(delivery(1, { attempt: 2 }))
    await second.expect('DeliverMsgAck')
    assert.equal(came.length, 1)
    const content = new Uint8Array()
    second.ask(delivery(1, { messageId: idOf(2), content }))
    second.ask(delivery(1, { sender: 'carol', content }))
    await second.expect('DeliverMsgAck')
    await second.expect('DeliverMsgAck')
    assert.deepEqual(came, ['bob 1', 'bob ', 'carol '])
  })
})

spec('a handler that throws', (it) => {
  it('gets the same message again, after longer and longer waits, before any later message', async () => {
    await using server = new ScriptedServer()
    const came: number[] = []
    server.client().receive(({ seq }) => {
      came.push(seq)
      if (came.length < 4) bug()
    })
    const link = await server.listening()
    link.ask(delivery(1))
    link.ask(delivery(2))
    await link.quiet()
    for (const waitMs of [100, 200, 400]) {
      const before = came.length
      await server.pass(waitMs - 1)
      assert.equal(came.length, before)
      await server.pass(1)
    }
    await link.expect('DeliverMsgAck')
    await link.expect('DeliverMsgAck')
    assert.deepEqual(came, [1, 1, 1, 1, 2])
  })

  it('16 times gives the message up, which is logged, and continues with the next one', async () => {
    await using server = new ScriptedServer()
    let tries = 0
    server.client().receive(({ seq }) => {
      if (seq === 2) return
      tries++
      return Promise.reject(new Error('a handler has a bug'))
    })
    const link = await server.listening()
    const seq = link.ask(delivery(1))
    link.ask(delivery(2))
    for (let tried = 1; tried < clientLimits.handlerTries; tried++) {
      await link.quiet()
      await server.pass(clientLimits.handlerMostMs)
    }
    const { message, frame } = await link.expect('DeliverMsgAck')
    const rejected = [{ mailboxSeq: 1, text: 'a handler has a bug' }]
    assert.deepEqual([tries, message.mailboxSeq, message.rejected, frame.seq], [16, 1, rejected, seq])
    await link.expect('DeliverMsgAck')
    const fields = { level: 'error', event: 'message-rejected', seq: 1, from: 'bob', text: 'a handler has a bug' }
    const failures = server.log.filter(({ event }) => event === 'handler-failed')
    assert.deepEqual([failures.length, server.log.slice(failures.length)], [16, [fields]])
    link.break()
    const next = await server.listening()
    next.ask(delivery(1, { attempt: 2 }))
    assert.deepEqual((await next.expect('DeliverMsgAck')).message.rejected, rejected)
    assert.equal(tries, 16)
  })
})

spec('a delivery of several messages', (it) => {
  it('is acknowledged once, when all of them are handled', async () => {
    await using server = new ScriptedServer()
    const came: number[] = []
    server.client().receive(({ seq }) => void came.push(seq))
    const link = await server.listening()
    const seq = link.ask(deliveryOf([3, 5, 8]))
    const { message, frame } = await link.expect('DeliverMsgAck')
    assert.deepEqual([came, message.mailboxSeq, message.rejected, frame.seq], [[3, 5, 8], 8, [], seq])
    await server.pass(1_000)
    await link.quiet()
  })

  it('reports the handled ones while a later one is being handled', async () => {
    await using server = new ScriptedServer()
    const handled = deferred<void>()
    server.client().receive(({ seq }) => (seq === 3 ? handled.promise : undefined))
    const link = await server.listening()
    link.ask(deliveryOf([1, 2, 3, 4]))
    await link.quiet()
    await server.pass(10)
    assert.equal((await link.expect('DeliverMsgNtf')).message.mailboxSeq, 2)
    await server.pass(1_000)
    await link.quiet()
    handled.resolve()
    assert.equal((await link.expect('DeliverMsgAck')).message.mailboxSeq, 4)
  })

  it('reports each result once, and repeats all of them in the answer', async () => {
    await using server = new ScriptedServer()
    const handled = [1, 2, 3].map(() => deferred<string>())
    server.client().receive(({ seq }) => handled[seq - 1]?.promise, { concurrency: 3 })
    const link = await server.listening()
    const body = encodeBody({ receiptWanted: true }, new Uint8Array())
    const messages = [1, 2, 3].flatMap((seq) => delivery(seq, { body }).messages)
    link.ask({ event: 'DeliverMsgReq', attempt: 1, messages })
    const results = [1, 2, 3].map((mailboxSeq) => ({ mailboxSeq, result: `done ${mailboxSeq}` }))
    for (const [at, { result }] of results.slice(0, 2).entries()) {
      await turn()
      handled[at]?.resolve(result)
      await server.pass(10)
      assert.deepEqual((await link.expect('DeliverMsgNtf')).message.results, results.slice(at, at + 1))
    }
    handled[2]?.resolve('done 3')
    assert.deepEqual((await link.expect('DeliverMsgAck')).message.results, results)
  })

  it('reports the handled ones when the receiver is disposed', async () => {
    await using server = new ScriptedServer()
    const handled = deferred<void>()
    const receiver = server.client().receive(({ seq }) => (seq === 2 ? handled.promise : undefined))
    const link = await server.listening()
    link.ask(deliveryOf([1, 2, 3]))
    await link.quiet()
    const disposed = receiver[Symbol.asyncDispose]()
    handled.resolve()
    assert.equal((await link.expect('DeliverMsgNtf')).message.mailboxSeq, 2)
    await disposed
    await link.expect('RegistReq')
  })

  it('rejects one alone, and reports nothing after it', async () => {
    await using server = new ScriptedServer()
    const handled = deferred<void>()
    server.client().receive(({ seq }) => (seq === 2 ? bug() : seq === 4 ? handled.promise : undefined))
    const link = await server.listening()
    link.ask(deliveryOf([1, 2, 3, 4]))
    await server.pass(10)
    assert.equal((await link.expect('DeliverMsgNtf')).message.mailboxSeq, 1)
    for (let tried = 0; tried < clientLimits.handlerTries; tried++) await server.pass(clientLimits.handlerMostMs)
    await link.quiet()
    handled.resolve()
    const { message } = await link.expect('DeliverMsgAck')
    assert.deepEqual([message.mailboxSeq, message.rejected], [4, [{ mailboxSeq: 2, text: 'a handler has a bug' }]])
  })

  it('hands over those of its messages that are not known', async () => {
    await using server = new ScriptedServer()
    const came: number[] = []
    const handled = deferred<void>()
    server.client().receive(({ seq }) => {
      came.push(seq)
      return seq === 2 ? handled.promise : undefined
    })
    const link = await server.listening()
    const first = link.ask(deliveryOf([1, 2]))
    await turn()
    const second = link.ask(deliveryOf([1, 2, 3], 2))
    handled.resolve()
    const answered = [await link.expect('DeliverMsgAck'), await link.expect('DeliverMsgAck')]
    assert.deepEqual(
      [answered.map(({ frame }) => frame.seq), came],
      [
        [first, second],
        [1, 2, 3],
      ],
    )
  })

  for (const [what, seqs] of Object.entries({ 'no message': [], 'a message twice': [1, 1], 'a wrong order': [2, 1] })) {
    it(`with ${what} ends the link`, async () => {
      await using server = new ScriptedServer()
      server.client().receive(() => {})
      const link = await server.listening()
      link.ask(deliveryOf(seqs))
      await link.dismissed('malformed')
    })
  }
})

spec('a delivery', (it) => {
  const wrong: readonly [string, Parameters<typeof delivery>[1]][] = [
    ['of over 64 KiB', { content: new Uint8Array(fixed.messageBytes + 1) }],
    ['from an invalid sender', { sender: 'b\u001b[2J' }],
    ['of no time', { sentAt: 8.64e15 + 1 }],
    ['that was never sent', { attempt: 0 }],
  ]
  for (const [what, more] of wrong) {
    it(`${what} ends the link`, async () => {
      await using server = new ScriptedServer()
      server.client().receive(() => assert.fail('it was handed over'))
      const link = await server.listening()
      link.ask(delivery(1, more))
      await link.dismissed('malformed')
    })
  }

  it('above its window ends the link', async () => {
    await using server = new ScriptedServer()
    server.client().receive(() => new Promise(() => {}))
    const link = await server.listening({ window: 3 })
    link.ask(delivery(1))
    link.ask(deliveryOf([2, 3]))
    await link.quiet()
    link.ask(delivery(4))
    await link.dismissed('malformed')
  })

  it('to a client that does not listen ends the link', async () => {
    await using server = new ScriptedServer()
    assert.equal(server.client().presence.size, 0)
    const link = await server.registered(0)
    link.ask(delivery(1))
    await link.dismissed('malformed')
  })
})
