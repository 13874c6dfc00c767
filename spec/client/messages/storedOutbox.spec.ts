import assert from 'node:assert/strict'
import type { RefusedMessage } from '../../../lib/client/client.ts'
import { OspError } from '../../../lib/errors.ts'
import { clientLimits, KiB } from '../../../lib/limits.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { hasResolved } from '../../support/hasResolved.ts'
import { MemoryOutbox } from '../../support/memoryOutbox.ts'
import { beforeSending, idsOf, start, textsOf, turns } from '../../support/outboxClient.ts'
import { type Asked, handled, nackOf, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'

spec('a message with an outbox', (it) => {
  it('is queued when it is in the store, without a server, and stored when the server has acknowledged it', async () => {
    await using server = new ScriptedServer()
    const outbox = new MemoryOutbox()
    const { client } = start(server, outbox)
    const sent = client.send(['bob'], 'hi', { id: '07'.repeat(16) })
    await sent.queued
    assert.deepEqual([sent.id, outbox.texts], ['07'.repeat(16), ['hi']])
    const link = await server.registered()
    const asked = await link.expect('PostMsgReq')
    assert.deepEqual([textsOf(asked), idsOf(asked)], [['hi'], [sent.id]])
    link.acknowledge(asked)
    assert.deepEqual(await sent.stored, [{ recipient: 'bob', status: 'online' }])
    assert.deepEqual(await sent, await sent.stored)
    await turns()
    assert.deepEqual(outbox.texts, [])
  })

  it('is not sent before it is in the store', async () => {
    await using server = new ScriptedServer()
    const { client, program } = start(server, new MemoryOutbox())
    const link = await beforeSending(client, server)
    const flushed = deferred<void>()
    program.before = () => flushed.promise
    const sent = client.send(['bob'], 'hi')
    await link.quiet()
    assert.equal(await hasResolved(sent.queued), false)
    flushed.resolve()
    link.acknowledge(await link.expect('PostMsgReq'))
    await sent
  })

  it('is rejected if the store cannot add it', async () => {
    await using server = new ScriptedServer()
    const { client, program } = start(server, new MemoryOutbox())
    const link = await beforeSending(client, server)
    program.before = () => {
      throw new OspError('disk-full')
    }
    const sent = client.send(['bob'], 'hi')
    await assert.rejects(sent.queued, { code: 'disk-full' })
    await assert.rejects(sent.stored, { code: 'disk-full' })
    await link.quiet()
  })

  it('is the first use of the outbox: a client without messages does not open one that no program has used', async () => {
    await using server = new ScriptedServer()
    const outbox = new MemoryOutbox()
    const { client } = start(server, outbox)
    const link = await beforeSending(client, server)
    await client.flush()
    assert.equal(outbox.isUsed, false)
    const sent = client.send(['bob'], 'a')
    link.acknowledge(await link.expect('PostMsgReq'))
    await sent
    assert.equal(outbox.isUsed, true)
  })

  it('is sent after those of earlier programs, under their ids', async () => {
    await using server = new ScriptedServer()
    const outbox = new MemoryOutbox()
    const first = start(server, outbox)
    const earlier = ['a', 'b'].map((text) => first.client.send(['bob'], text))
    await Promise.all(earlier.map(({ queued }) => queued))
    first.program.kill()
    server.links.at(-1)?.break()
    const second = new ScriptedServer()
    const { client } = start(second, outbox)
    void handled(client.send(['bob'], 'c'))
    const link = await second.registered()
    const asked = await link.expect('PostMsgReq')
    assert.deepEqual(textsOf(asked), ['a', 'b', 'c'])
    assert.deepEqual(
      idsOf(asked).slice(0, 2),
      earlier.map(({ id }) => id),
    )
    await second[Symbol.asyncDispose]()
  })

  it('of an earlier program is sent even by a client that only receives messages', async () => {
    await using server = new ScriptedServer()
    const outbox = new MemoryOutbox()
    const first = start(server, outbox)
    await first.client.send(['bob'], 'a').queued
    first.program.kill()
    await using other = new ScriptedServer()
    start(other, outbox).client.receive(() => {})
    const link = await other.listening()
    assert.deepEqual(textsOf(await link.expect('PostMsgReq')), ['a'])
  })

  it('stays in the outbox when the client is closed, and is sent by the next one', async () => {
    await using server = new ScriptedServer()
    const outbox = new MemoryOutbox()
    const first = start(server, outbox)
    const sent = first.client.send(['bob'], 'a')
    await sent.queued
    const closed = first.client.close()
    await server.pass(1_000)
    await closed
    await assert.rejects(sent.stored, { code: 'closed' })
    await using other = new ScriptedServer()
    const { client } = start(other, outbox)
    const link = await beforeSending(client, other)
    const asked = await link.expect('PostMsgReq')
    assert.deepEqual([textsOf(asked), idsOf(asked)], [['a'], [sent.id]])
    link.acknowledge(asked)
    await client.flush()
  })

  it('is queued although the client fails while the outbox is being opened', async () => {
    await using server = new ScriptedServer()
    const outbox = new MemoryOutbox()
    const opened = deferred<void>()
    const { outbox: store, ...state } = outbox.program().state
    assert.ok(store)
    const load = async () => await opened.promise.then(() => store.load())
    const token = () => Promise.reject(new Error('no token'))
    const client = server.client({ state: { ...state, outbox: { ...store, load } }, token })
    const sent = client.send(['bob'], 'a')
    void handled(sent)
    await assert.rejects(client.online(), { code: 'unauthorized' })
    opened.resolve()
    await sent.queued
    await assert.rejects(sent.stored, { code: 'unauthorized' })
    assert.deepEqual(outbox.texts, ['a'])
  })

  it('is removed from the outbox when its signal aborts', async () => {
    await using server = new ScriptedServer()
    const outbox = new MemoryOutbox()
    const { client } = start(server, outbox)
    const giveUp = new AbortController()
    const sent = client.send(['bob'], 'a', { signal: giveUp.signal })
    await sent.queued
    giveUp.abort()
    await assert.rejects(sent.stored, { code: 'closed', message: /before it was sent/u })
    await turns()
    assert.deepEqual(outbox.texts, [])
  })

  it('is rejected beyond the limits of the outbox, which include messages of earlier programs', async () => {
    await using server = new ScriptedServer()
    const outbox = new MemoryOutbox()
    const body = new Uint8Array(64 * KiB + 1)
    const most = Math.floor(clientLimits.sendBytes / body.length)
    for (let number = 1; number <= most; number++) {
      outbox.kept.set(number, {
        number,
        id: number.toString(16).padStart(32, '0'),
        recipients: ['bob'],
        body,
        queuedAt: 0,
      })
    }
    const { client } = start(server, outbox)
    await assert.rejects(client.send(['bob'], new Uint8Array(64 * KiB)).queued, { code: 'outbox-full', retry: 'later' })
    await client.send(['bob'], 'short').queued
    assert.equal(outbox.kept.size, most + 1)
  })
})

spec('a program with an outbox that is killed', (it) => {
  /** Sends a message and kills the program at a step. Returns what the next program sends, and what stays. */
  const killedAt = async (step: (parts: ReturnType<typeof start>, server: ScriptedServer) => Promise<void>) => {
    await using server = new ScriptedServer()
    const outbox = new MemoryOutbox()
    const parts = start(server, outbox)
    await step(parts, server)
    parts.program.kill()
    for (const link of server.links) link.break()
    await using next = new ScriptedServer()
    const { client } = start(next, outbox)
    const link = await beforeSending(client, next)
    void handled(client.send(['bob'], 'next'))
    const asked: Asked<'PostMsgReq'>[] = []
    while (!textsOf(...asked).includes('next')) {
      asked.push(await link.expect('PostMsgReq'))
      link.acknowledge(asked.at(-1) as Asked<'PostMsgReq'>)
    }
    await client.flush()
    await turns()
    assert.deepEqual(outbox.texts, [])
    return { texts: textsOf(...asked), ids: asked.flatMap(idsOf) }
  }
  const id = '01'.repeat(16)
  const never = () => new Promise<void>(() => {})

  it('before the flush has queued nothing', async () => {
    let isQueued = false
    const { texts } = await killedAt(async ({ client, program }, server) => {
      await beforeSending(client, server)
      program.before = never
      client.send(['bob'], 'a', { id }).queued.then(
        () => {
          isQueued = true
        },
        () => {},
      )
      await turns()
    })
    assert.deepEqual([texts, isQueued], [['next'], false])
  })

  it('after the flush has its message sent once, by the next program', async () => {
    const { texts, ids } = await killedAt(async ({ client, program }, server) => {
      const link = await beforeSending(client, server)
      program.after = never
      void handled(client.send(['bob'], 'a', { id }))
      await link.quiet()
    })
    assert.deepEqual([texts, ids[0]], [['a', 'next'], id])
  })

  it('after it has sent its message has it sent again, under its id', async () => {
    const { texts, ids } = await killedAt(async ({ client }, server) => {
      const link = await beforeSending(client, server)
      void handled(client.send(['bob'], 'a', { id }))
      await link.expect('PostMsgReq')
    })
    assert.deepEqual([texts, ids[0]], [['a', 'next'], id])
  })

  it('after the ACK, and before the removal, has it sent again, under its id', async () => {
    const { texts, ids } = await killedAt(async ({ client, program }, server) => {
      const link = await beforeSending(client, server)
      const sent = client.send(['bob'], 'a', { id })
      const asked = await link.expect('PostMsgReq')
      program.before = never
      link.acknowledge(asked)
      await sent
    })
    assert.deepEqual([texts, ids[0]], [['a', 'next'], id])
  })

  it('after the removal leaves nothing', async () => {
    const { texts } = await killedAt(async ({ client }, server) => {
      const link = await beforeSending(client, server)
      const sent = client.send(['bob'], 'a', { id })
      link.acknowledge(await link.expect('PostMsgReq'))
      await sent
      await turns()
    })
    assert.deepEqual(texts, ['next'])
  })

  it('before it has recorded that a message may be sent has not sent it', async () => {
    const outbox = new MemoryOutbox()
    await using server = new ScriptedServer()
    const { client, program } = start(server, outbox)
    await client.send(['bob'], 'a').queued
    program.before = never
    await (await server.registered()).quiet()
    assert.equal(outbox.kept.get(1)?.knownUntil, undefined)
    program.kill()
  })
})

spec('a message in the outbox whose id the server may have forgotten', (it) => {
  const knownForMs = 100_000

  it('is not sent again if it may have been sent: its outcome is unknown, and later messages are sent', async () => {
    const outbox = new MemoryOutbox()
    await using server = new ScriptedServer()
    const first = start(server, outbox)
    const link = await beforeSending(first.client, server)
    void handled(first.client.send(['bob'], 'a', { id: '01'.repeat(16) }))
    await link.expect('PostMsgReq')
    first.program.kill()
    await using next = new ScriptedServer()
    next.clock.pass(knownForMs)
    const { client } = start(next, outbox)
    const refused: [RefusedMessage, OspError][] = []
    client.on('messageRefused', (...event) => refused.push(event))
    void handled(client.send(['bob'], 'b'))
    const second = await next.registered()
    assert.deepEqual(textsOf(await second.expect('PostMsgReq')), ['b'])
    assert.deepEqual(
      refused.map(([{ id, isQueued }, { code }]) => [id, isQueued, code]),
      [['01'.repeat(16), false, 'timed-out']],
    )
    assert.deepEqual(
      next.log.map(({ event }) => event),
      ['message-refused'],
    )
    await turns()
    assert.deepEqual(outbox.texts, ['b'])
  })

  it('is sent if it was never sent, however long it has waited', async () => {
    const outbox = new MemoryOutbox()
    await using server = new ScriptedServer()
    const first = start(server, outbox)
    await first.client.send(['bob'], 'a').queued
    first.program.kill()
    await using next = new ScriptedServer()
    next.clock.pass(100 * knownForMs)
    const { client } = start(next, outbox)
    const link = await beforeSending(client, next)
    assert.deepEqual(textsOf(await link.expect('PostMsgReq')), ['a'])
    assert.equal(outbox.kept.get(1)?.knownUntil, next.clock.wallTime() + knownForMs)
  })

  it('is marked anew if a link was lost before it was sent', async () => {
    const outbox = new MemoryOutbox()
    await using server = new ScriptedServer()
    const { client } = start(server, outbox)
    void handled(client.send(['bob'], 'a'))
    const first = await server.link()
    first.break()
    await server.pass(2 * knownForMs)
    const link = await server.registered()
    await link.expect('PostMsgReq')
    assert.equal(outbox.kept.get(1)?.knownUntil, server.clock.wallTime() + knownForMs)
  })
})

spec('a message in the outbox that the server refuses', (it) => {
  it('permanently leaves the outbox, is reported, and does not delay the others', async () => {
    const outbox = new MemoryOutbox()
    await using server = new ScriptedServer()
    const { client } = start(server, outbox)
    const refused: [RefusedMessage, OspError][] = []
    client.on('messageRefused', (...event) => refused.push(event))
    const link = await beforeSending(client, server)
    const sent = client.send(['nobody'], 'a')
    link.refuse(await link.expect('PostMsgReq'), 'unknown-user', { recipients: ['nobody'] })
    await assert.rejects(sent.stored, { code: 'unknown-user', recipients: ['nobody'] })
    assert.deepEqual(
      refused.map(([message, { code }]) => [message, code]),
      [[{ id: sent.id, recipients: ['nobody'], isQueued: false }, 'unknown-user']],
    )
    const next = client.send(['bob'], 'b')
    link.acknowledge(await link.expect('PostMsgReq'))
    await next
    await turns()
    assert.deepEqual(outbox.texts, [])
  })

  it('temporarily does not complete a flush while a message to another recipient is unanswered', async () => {
    await using server = new ScriptedServer()
    const { client } = start(server, new MemoryOutbox())
    const link = await beforeSending(client, server)
    void handled(client.send(['bob'], 'a'))
    const first = await link.expect('PostMsgReq')
    void handled(client.send(['carol'], 'b'))
    const second = await link.expect('PostMsgReq')
    const flushes = [client.flush(), client.flush()]
    link.refuse(first, 'mailbox-full', { recipients: ['bob'] })
    await turns()
    void handled(client.send(['bob'], 'c'))
    flushes.push(client.flush())
    await turns()
    assert.deepEqual(await Promise.all(flushes.map(hasResolved)), [false, false, false])
    link.acknowledge(second)
    await Promise.all(flushes)
  })

  it('temporarily is sent again later, and only messages to other recipients overtake it', async () => {
    const outbox = new MemoryOutbox()
    await using server = new ScriptedServer()
    const { client } = start(server, outbox)
    const refused: boolean[] = []
    client.on('messageRefused', ({ isQueued }) => refused.push(isQueued))
    const link = await beforeSending(client, server)
    const first = client.send(['bob', 'carol'], 'a')
    link.refuse(await link.expect('PostMsgReq'), 'mailbox-full', { recipients: ['bob'] })
    await turns()
    assert.deepEqual([refused, outbox.texts], [[true], ['a']])
    const behind = client.send(['carol', 'dave'], 'b')
    const beyond = client.send(['dave'], 'c')
    const other = client.send(['eve'], 'd')
    const overtaking = await link.expect('PostMsgReq')
    assert.deepEqual(textsOf(overtaking), ['d'])
    link.acknowledge(overtaking)
    await other
    await link.quiet()
    await server.pass(1_000)
    const again = await link.expect('PostMsgReq')
    assert.deepEqual([textsOf(again), idsOf(again)[0]], [['a', 'b', 'c'], first.id])
    link.acknowledge(again)
    await Promise.all([first, behind, beyond])
    await turns()
    assert.deepEqual(outbox.texts, [])
  })

  it('temporarily, with others in the same request, is sent again in order', async () => {
    await using server = new ScriptedServer()
    const { client } = start(server, new MemoryOutbox())
    const link = await beforeSending(client, server)
    const sent = ['a', 'b', 'c'].map((text) => client.send(['bob'], text))
    link.reply(await link.expect('PostMsgReq'), nackOf('PostMsgNack', 'rate-limited'))
    await link.quiet()
    await server.pass(1_000)
    const again = await link.expect('PostMsgReq')
    assert.deepEqual(textsOf(again), ['a', 'b', 'c'])
    link.acknowledge(again)
    await Promise.all(sent)
  })

  it('temporarily is sent again at once by the next program', async () => {
    const outbox = new MemoryOutbox()
    await using server = new ScriptedServer()
    const first = start(server, outbox)
    const link = await beforeSending(first.client, server)
    void handled(first.client.send(['bob'], 'a'))
    link.refuse(await link.expect('PostMsgReq'), 'mailbox-full')
    await turns()
    first.program.kill()
    await using next = new ScriptedServer()
    const { client } = start(next, outbox)
    const second = await beforeSending(client, next)
    assert.deepEqual(textsOf(await second.expect('PostMsgReq')), ['a'])
  })
})
