import assert from 'node:assert/strict'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { fixed } from '../../../lib/limits.ts'
import { hostileServer, type ReceivedRequest } from '../../support/hostileServer.ts'
import { delivery } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'
import { turns } from '../../support/turns.ts'

setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')

const mib = () => {
  collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return (heapUsed + arrayBuffers) / 2 ** 20
}

/** Answers REGIST and POST_MSG; returns whether the request was one of these. */
function messages({ message, reply }: ReceivedRequest, deliveryWindow: number): boolean {
  if (message.event === 'RegistReq') reply({ event: 'RegistAck', instance: 1, listVersion: 1, deliveryWindow })
  else if (message.event === 'PostMsgReq') {
    const statuses = message.messages.map(({ recipients }) => recipients.map(() => 0))
    reply({ event: 'PostMsgAck', statuses, refused: [] })
  } else return false
  return true
}

spec('a client', (it) => {
  it('keeps no memory of messages that it has sent and handed over', async () => {
    let delivered = 0
    await using server = await hostileServer((heard) => {
      const { event } = heard.message
      const understood = messages(heard, 4)
      if (event === 'RegistReq' || event === 'DeliverMsgAck') heard.say(delivery(++delivered), delivered)
      return !understood && event !== 'DeliverMsgAck'
    })
    const client = server.client()
    let come = 0
    client.receive(() => void come++)
    const content = new Uint8Array(1_000)
    const send = async () => {
      for (let n = 0; n < 5_000; n++) await client.send(['bob'], content)
    }
    await send()
    await turns(() => come > 5_000)
    const before = mib()
    // Compiled code comes and goes, up to 1.5 MiB of it. Messages that stay would be more in each round.
    let more = Number.POSITIVE_INFINITY
    for (let round = 0; round < 4 && more >= 1; round++) {
      const comeBefore = come
      await send()
      await turns(() => come > comeBefore + 5_000)
      more = mib() - before
    }
    assert.ok(more < 1, `${more.toFixed(1)} MiB stay`)
  })

  it('with a slow handler uses memory for one window of messages, and ends the link of a server that sends more', async () => {
    const window = 32
    const content = new Uint8Array(fixed.messageBytes)
    let say: (seq: number) => void = () => {}
    await using server = await hostileServer((heard) => {
      say = (seq) => heard.say(delivery(seq, { content }), seq)
      return !messages(heard, window)
    })
    const client = server.client()
    const receiver = client.receive(() => new Promise(() => {}))
    await turns(() => server.count('RegistReq') === 1)
    const before = mib()
    for (let seq = 1; seq <= window; seq++) say(seq)
    // Its answer comes after all of them.
    await client.send(['bob'], '')
    // The server's end of the socket is in this process too, and releases its memory later.
    await turns(() => mib() - before < 6)
    assert.equal(server.count('GoodbyeNtf'), 0)
    const refused = assert.rejects(receiver.done, { code: 'malformed' })
    say(window + 1)
    await refused
    await turns(() => server.count('GoodbyeNtf') === 1)
  })
})
