import assert from 'node:assert/strict'
import type { MailSteps } from '../../../lib/adapters/cluster/mailSteps.ts'
import { MemorySharedStore } from '../../../lib/adapters/memory/sharedStore.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { AddressedMessage, MailboxBounds } from '../../../lib/ports/mailboxes.ts'
import { checkRandomRuns, type Draw } from '../../../lib/testing/chance.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { spec } from '../../support/spec.ts'
import { infoOf, longMs } from '../cluster/contract/fixture.ts'
import { numbered, roomy } from '../cluster/contract/mail.ts'
import { countersOf } from './mailRig.ts'
import { emptyStore } from './stores.ts'

const users = ['bob', 'carol', 'dave', 'eve']

const tight: MailboxBounds = {
  messages: 5,
  bytes: 4_000,
  allMessages: 12,
  allBytes: 5_000,
  receipts: 1_000,
  senderIds: 14,
  allIds: 20,
  sharePercent: 60,
  reserveBytes: 0,
}

const bounds = [roomy, tight, tight, { ...tight, sharePercent: 100 }, { ...tight, sharePercent: 33 }]

type Call = ReturnType<typeof drawCall>

function drawMessage(draw: Draw): AddressedMessage {
  const to = new Set(draw.some(1, 4, () => draw.pick(users)))
  const content = new Uint8Array(draw.pick([0, 1, 100, 700, 2_000, 2_001])).fill(draw.from(0, 1))
  return numbered(draw.from(1, 30), [...to], {
    sender: draw.pick(['alice', 'zoe']),
    content,
  })
}

function drawCall(draw: Draw) {
  const kind = draw.from(1, 12)
  if (kind <= 6) {
    return { does: 'post' as const, messages: draw.some(1, 8, () => drawMessage(draw)), bounds: draw.pick(bounds) }
  }
  if (kind === 7) return { does: 'expire' as const, messagesBefore: draw.from(0, 60), idsBefore: draw.from(0, 60) }
  const does = kind === 8 ? ('setAside' as const) : ('remove' as const)
  // `picks` choose among the latest seqs.
  return { does, user: draw.pick(users), picks: draw.some(0, 12, () => draw.from(0, 30)) }
}

/** Makes a call at a time of the age clock, and returns its result. */
async function made(call: Call, storedAt: number, mail: MailSteps, server: number): Promise<unknown> {
  if (call.does === 'post') {
    const messages = call.messages.map((message) => ({ ...message, storedAt }))
    return (await mail.post(server, messages, call.bounds)).outcomes
  }
  if (call.does === 'expire') {
    const { expired } = await mail.expire(server, call.messagesBefore, call.idsBefore, 1_000)
    return expired.toSorted((a, b) => (a.user < b.user ? -1 : 1))
  }
  const last = await mail.lastSeq()
  const messages = [{ user: call.user, seqs: call.picks.map((pick) => last - pick) }]
  await mail[call.does](server, messages)
  return undefined
}

/** Returns the visible state of the mailboxes. */
async function shownBy(mail: MailSteps): Promise<unknown> {
  const found = await mail.read(
    users.map((user) => ({ user, afterSeq: 0 })),
    1_000,
    1_000_000,
  )
  const levels = await mail.levels(100)
  return { found, lastSeq: await mail.lastSeq(), levels: levels.toSorted((a, b) => (a.user < b.user ? -1 : 1)) }
}

spec('mailboxes in a database', (it) => {
  if (databaseMissing !== undefined) return it.skip('equal mailboxes in memory', databaseMissing)

  it('equal mailboxes in memory after random steps', async () => {
    await using rig = await emptyStore()
    const check = async (calls: readonly Call[]) => {
      await rig.sql('TRUNCATE ospd.box, ospd.mail, ospd.body, ospd.sent, ospd.server RESTART IDENTITY')
      await rig.sql('ALTER SEQUENCE ospd.message_seq RESTART')
      const memory = new MemorySharedStore(nodePlatform()).steps()
      await memory.open()
      const steps = await rig.connect()
      const [expected, actual] = [await memory.enter(infoOf('a'), longMs), await steps.enter(infoOf('a'), longMs)]
      for (const [at, call] of calls.entries()) {
        assert.deepEqual(await made(call, at, steps.mail, actual), await made(call, at, memory.mail, expected))
        assert.deepEqual(await shownBy(steps.mail), await shownBy(memory.mail))
      }
      const { counted, found } = await countersOf(rig)
      assert.deepEqual(counted, found)
    }
    const textOf = (call: Call) =>
      JSON.stringify(call, (name, value) => (name === 'content' ? `${value}`.slice(0, 20) : value))
    await checkRandomRuns(0x5eed, { runs: 8, draw: (draw) => draw.some(1, 60, () => drawCall(draw)), check, textOf })
  })
})
