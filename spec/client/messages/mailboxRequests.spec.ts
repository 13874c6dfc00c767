import assert from 'node:assert/strict'
import type { WaitingMessage } from '../../../lib/client/messages/message.ts'
import { delivery, handled, nackOf, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'

type Delivered = ReturnType<typeof delivery>['messages']

const page = (messages: Delivered) => ({ event: 'ListMsgAck', messages }) as const
const pageOf = (...seqs: readonly number[]) => page(seqs.flatMap((seq) => delivery(seq).messages))

/** Makes a client with a registered link. */
async function connected(server: ScriptedServer) {
  const client = server.client()
  assert.equal(client.presence.size, 0)
  return { inbox: client.inbox, client, link: await server.registered() }
}

async function all(list: AsyncIterable<WaitingMessage>): Promise<readonly WaitingMessage[]> {
  const found: WaitingMessage[] = []
  for await (const message of list) found.push(message)
  return found
}

spec('the inbox of a client', (it) => {
  it('lists the messages of all pages, without listening', async () => {
    await using server = new ScriptedServer()
    const { inbox, link } = await connected(server)
    const listing = all(inbox.list({ setAside: true }))
    const asked = await link.expect('ListMsgReq')
    assert.deepEqual([asked.message.flags, asked.message.afterSeq, asked.message.most], [1, 0, 0])
    link.reply(asked, pageOf(3, 5))
    const next = await link.expect('ListMsgReq')
    assert.equal(next.message.afterSeq, 5)
    link.reply(next, pageOf())
    const found = (await listing).map((message) => [
      message.seq,
      message.from,
      message.text(),
      message.sentAt.getTime(),
    ])
    assert.deepEqual(found, [
      [3, 'bob', '3', 1_000],
      [5, 'bob', '5', 1_000],
    ])
    await link.quiet()
  })

  it('returns and removes messages, up to 256 in a request', async () => {
    await using server = new ScriptedServer()
    const { inbox, link } = await connected(server)
    const seqs = Array.from({ length: 257 }, (_, at) => at + 1)
    const returning = inbox.return(seqs)
    for (const expected of [seqs.slice(0, 256), [257]]) {
      const asked = await link.expect('ReturnMsgReq')
      assert.deepEqual(asked.message.mailboxSeqs, expected)
      link.reply(asked, { event: 'ReturnMsgAck' })
    }
    await returning
    const removing = inbox.remove([7])
    const asked = await link.expect('RemoveMsgReq')
    assert.deepEqual(asked.message.mailboxSeqs, [7])
    link.reply(asked, { event: 'RemoveMsgAck' })
    await removing
    await inbox.remove([])
    await link.quiet()
  })

  it('repeats a request after a lost link and after a temporary refusal', async () => {
    await using server = new ScriptedServer()
    const { inbox, link } = await connected(server)
    const removing = inbox.remove([7])
    await link.expect('RemoveMsgReq')
    link.break()
    const second = await server.registered()
    second.reply(await second.expect('RemoveMsgReq'), nackOf('RemoveMsgNack', 'rate-limited'))
    await server.pass(60_000)
    second.reply(await second.expect('RemoveMsgReq'), { event: 'RemoveMsgAck' })
    await removing
  })

  it('makes many requests at the same time without a process warning', async () => {
    await using server = new ScriptedServer()
    const { inbox, link } = await connected(server)
    const warnings: string[] = []
    const warned = ({ message }: Error) => void warnings.push(message)
    process.on('warning', warned)
    const removing = Array.from({ length: 12 }, (_, at) => inbox.remove([at + 1]))
    for (const _ of removing) link.reply(await link.expect('RemoveMsgReq'), { event: 'RemoveMsgAck' })
    await Promise.all(removing)
    process.off('warning', warned)
    assert.deepEqual(warnings, [])
  })

  it('rejects when its signal aborts, when the client is closed, and for invalid arguments', async () => {
    await using server = new ScriptedServer()
    const { inbox, client, link } = await connected(server)
    const abort = new AbortController()
    const removing = handled(inbox.remove([7], { signal: abort.signal }))
    await link.expect('RemoveMsgReq')
    abort.abort()
    await assert.rejects(removing, { code: 'closed' })
    const returning = handled(inbox.return([7]))
    await link.expect('ReturnMsgReq')
    for (const seqs of [undefined, 7, [0], [1.5], ['1']])
      await assert.rejects(inbox.return(seqs as never), { code: 'usage', message: /the seqs must be/u })
    await assert.rejects(all(inbox.list({ aside: true } as never)), { code: 'usage' })
    await client.close()
    await assert.rejects(returning, { code: 'closed' })
    await assert.rejects(all(inbox.list()), { code: 'closed' })
  })

  for (const [what, messages] of Object.entries({
    'in the wrong order': pageOf(5, 3).messages,
    'with an invalid sender': delivery(1, { sender: 'b\u001b[2J' }).messages,
    'with an invalid time': delivery(1, { sentAt: 8.64e15 + 1 }).messages,
  })) {
    it(`rejects a list of messages ${what}`, async () => {
      await using server = new ScriptedServer()
      const { inbox, link } = await connected(server)
      const listing = handled(all(inbox.list()))
      link.reply(await link.expect('ListMsgReq'), page(messages))
      await assert.rejects(listing, { code: 'malformed' })
    })
  }
})
