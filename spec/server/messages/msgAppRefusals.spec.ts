import assert from 'node:assert/strict'
import { OspError } from '../../../lib/errors.ts'
import { defaultLimits, fixed, KiB } from '../../../lib/limits.ts'
import { heldRig, MessageClient, textOf } from '../../support/messageClient.ts'
import type { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const { enter, listen } = MessageClient

const authenticator = {
  authenticate: async ({ user }: { user: string }) => ({ user }),
  knows: async (user: string) => !user.startsWith('no'),
}

/** Nothing waits for these. */
async function assertEmpty(rig: ServerRig, ...users: string[]): Promise<void> {
  for (const user of users) {
    const client = await listen(rig, user, { session: 'looks' })
    await turn()
    assert.deepEqual(client.unread, [])
  }
}

spec('POST_MSG is refused', (it) => {
  it('as not-registered at an idle instance, also its own former one', async () => {
    await using rig = await heldRig()
    const alice = await enter(rig, 'alice')
    await alice.postNacked(1, ['bob'], 'hello', 'not-registered', 1)
    await alice.regist()
    await alice.postNacked(1, ['bob'], 'hello', 'not-registered', 2)
    await alice.postNacked(1, ['bob'], 'hello', 'not-registered', 60_000)
    assert.deepEqual(await alice.post(1, ['bob'], 'hello'), ['bob stored'])
  })

  it("as wrong-node at another node's instance, whether the client is registered or not", async () => {
    await using rig = await heldRig()
    const { instance } = await listen(rig, 'alice')
    const bob = await enter(rig, 'bob')
    await bob.postNacked(1, ['carol'], 'hello', 'wrong-node', instance)
    await bob.regist()
    await bob.postNacked(1, ['carol'], 'hello', 'wrong-node', instance)
    await assertEmpty(rig, 'carol')
  })

  it('as not-registered on a new link that has not registered again', async () => {
    await using rig = await heldRig()
    const { instance } = await listen(rig, 'alice')
    const back = await enter(rig, 'alice')
    await back.postNacked(1, ['bob'], 'hello', 'not-registered', instance)
  })

  it('as malformed without a recipient: the link ends', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    alice.sendPost(1, [], 'hello')
    await alice.raw.dismissed('malformed')
  })

  it('as malformed at the daemon: the link ends', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    alice.sendPost(1, ['bob'], 'hello', 0)
    await alice.raw.dismissed('malformed')
  })

  it('as too-many-recipients above the limit', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const recipients = Array.from({ length: 17 }, (_, at) => `user ${at}`)
    const { text } = await alice.postRefused(1, recipients, 'hello', 'too-many-recipients')
    assert.match(text, /16 recipients.*17/u)
    await assertEmpty(rig, ...recipients.slice(0, 2))
  })

  it('as bad-name with invalid names, which it names', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const bad = ['a/b', '', 'x'.repeat(fixed.userNameBytes + 1)]
    const { recipients } = await alice.postRefused(1, ['bob', ...bad], 'hello', 'bad-name')
    assert.deepEqual(recipients, bad)
    await assertEmpty(rig, 'bob')
  })

  it('as unknown-user with users that the authenticator does not know, which it names', async () => {
    await using rig = await heldRig({}, { authenticator })
    const alice = await listen(rig, 'alice')
    const { recipients, retryAfter } = await alice.postRefused(1, ['nobody', 'bob', 'none'], 'hello', 'unknown-user')
    assert.deepEqual([recipients, retryAfter], [['nobody', 'none'], 0])
    await assertEmpty(rig, 'bob')
  })

  it('as too-large over 64 KiB', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    await alice.postRefused(1, ['bob'], new Uint8Array(fixed.messageBytes + 1), 'too-large')
    await assertEmpty(rig, 'bob')
  })

  it('as mailbox-full, with the recipients that are full, and nothing is stored for the others', async () => {
    await using rig = await heldRig({ mailboxMessages: 1, senderSharePercent: 100 })
    const alice = await listen(rig, 'alice')
    await alice.post(1, ['bob'], 'first')
    const full = await alice.postRefused(2, ['carol', 'bob'], 'second', 'mailbox-full')
    assert.deepEqual([full.recipients, full.retryAfter], [['bob'], defaultLimits.retryAfterMs])
    await assertEmpty(rig, 'carol')
    const bob = await listen(rig, 'bob')
    await bob.take(await bob.delivery())
    assert.deepEqual(bob.unread, [])
  })

  it('as mailbox-full also by bytes', async () => {
    await using rig = await heldRig({ mailboxBytes: 12, senderSharePercent: 100 })
    const alice = await listen(rig, 'alice')
    await alice.post(1, ['bob'], '123456')
    assert.deepEqual((await alice.postRefused(2, ['bob'], '12345', 'mailbox-full')).recipients, ['bob'])
    await alice.post(3, ['bob'], '1234')
  })

  it('as mailbox-full if all mailboxes together have reached their limit', async () => {
    await using rig = await heldRig({ waitingMessages: 3, senderSharePercent: 100 })
    const alice = await listen(rig, 'alice')
    await alice.post(1, ['bob', 'carol'], 'hello')
    await alice.postRefused(2, ['dave', 'bob'], 'hello', 'mailbox-full')
    await alice.post(3, ['dave'], 'hello')
  })

  it('as disk-full if the messages of all mailboxes have reached their total size; the text gives the reason', async () => {
    await using rig = await heldRig({ messageStoreBytes: 20 })
    const alice = await listen(rig, 'alice')
    await alice.post(1, ['bob', 'carol'], 'hello')
    const shared = await alice.postRefused(2, ['dave'], '1', 'disk-full')
    assert.match(shared.text, /^the waiting messages of one sender must leave space for those of others/u)
    const eve = await listen(rig, 'eve')
    await eve.post(1, ['dave'], 'hello')
    const full = await eve.postRefused(2, ['dave'], '123456', 'disk-full')
    assert.match(full.text, /^the server has no space for more messages; try again after some are received/u)
  })

  it('if a user has used up the share of all waiting messages; others can send, also after a restart', async () => {
    await using rig = await heldRig({ waitingMessages: 200, retryAfterMs: 700 })
    let mallory = await listen(rig, 'mallory')
    const sixteen = (from: number) => Array.from({ length: 16 }, (_, at) => `user ${from + at}`)
    for (let number = 1; number <= 6; number++) await mallory.post(number, sixteen(number), '')
    const refused = await mallory.postRefused(7, sixteen(100), '', 'mailbox-full')
    assert.deepEqual([refused.recipients, refused.retryAfter], [sixteen(100), 700])
    assert.match(refused.text, /^the waiting messages of mallory fill the share of one sender; try again after/u)
    await rig.crash()
    await rig.restart()
    mallory = await listen(rig, 'mallory')
    await mallory.postRefused(7, sixteen(100), '', 'mailbox-full')
    const bob = await listen(rig, 'bob')
    for (let number = 1; number <= 50; number++) await bob.post(number, [`empty ${number}`], 'hello')
    // Half of what is left: 200 - 96 are free, and he has 52 then.
    for (let number = 51; number <= 52; number++) await bob.post(number, ['dave'], 'hello')
    await bob.postRefused(53, ['dave'], 'hello', 'mailbox-full')
    await (await listen(rig, 'carol')).post(1, ['bob'], 'hello')
  })

  it('if a user has used up the share of a mailbox; others can still send to it', async () => {
    await using rig = await heldRig({ mailboxMessages: 10 })
    const mallory = await listen(rig, 'mallory')
    for (let number = 1; number <= 5; number++) await mallory.post(number, ['bob'], '')
    assert.deepEqual((await mallory.postRefused(6, ['carol', 'bob'], '', 'mailbox-full')).recipients, ['bob'])
    await mallory.post(7, ['carol'], '')
    const dave = await listen(rig, 'dave')
    for (let number = 1; number <= 2; number++) await dave.post(number, ['bob'], 'hello')
  })

  it('as rate-limited if four users have used up their shares of message ids; a fifth can still send', async () => {
    await using rig = await heldRig({ messageIds: 100 })
    const most = [50, 25, 12, 6]
    for (const [at, count] of most.entries()) {
      const greedy = await listen(rig, `greedy ${at}`)
      for (let number = 1; number <= count; number++) await greedy.post(number, ['bob'], '')
      await greedy.postRefused(count + 1, ['bob'], '', 'rate-limited')
      if (at !== 1) continue
      await rig.crash()
      await rig.restart()
    }
    const fifth = await listen(rig, 'fifth')
    for (let number = 1; number <= 3; number++) await fifth.post(number, ['bob'], 'hello')
  })

  it('as disk-full if the reserve would be used up, before anything is stored', async () => {
    await using rig = await heldRig({ reservePercent: 100 }, { capacityBytes: 64 * KiB })
    const alice = await listen(rig, 'alice')
    const large = 'x'.repeat(50 * KiB)
    const { retryAfter, text } = await alice.postRefused(1, ['bob'], large, 'disk-full')
    assert.equal(retryAfter, defaultLimits.retryAfterMs)
    assert.equal(text, "the server's disk is full")
    await assertEmpty(rig, 'bob')
  })

  it('as disk-full if the append finds the disk full', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    rig.storage.fail('append message', new OspError('disk-full', 'no room in /some/path'))
    const { text } = await alice.postRefused(1, ['bob'], 'hello', 'disk-full')
    assert.ok(!text.includes('path'))
    assert.deepEqual(await alice.post(1, ['bob'], 'hello'), ['bob stored'])
  })

  it('as rate-limited if too many ids of its sender are remembered, except a repeated one', async () => {
    await using rig = await heldRig({ senderIds: 1, retryAfterMs: 400 })
    const [alice, bob] = [await listen(rig, 'alice'), await listen(rig, 'bob')]
    await alice.post(1, ['carol'], 'hello')
    assert.equal((await alice.postRefused(2, ['carol'], 'hello', 'rate-limited')).retryAfter, 400)
    assert.deepEqual(await alice.post(1, ['carol'], 'hello'), ['carol stored'])
    await bob.post(1, ['carol'], 'hello')
  })

  it('as shutting-down while the server closes', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const closing = rig.server.close()
    alice.sendPost(1, ['bob'], 'hello')
    await alice.raw.dismissed('shutting-down')
    await closing
  })

  it('and its id is forgotten: another message may use it', async () => {
    await using rig = await heldRig({ mailboxMessages: 1, senderSharePercent: 100 })
    const alice = await listen(rig, 'alice')
    await alice.post(1, ['bob'], 'first')
    await alice.postRefused(2, ['bob'], 'second', 'mailbox-full')
    assert.deepEqual(await alice.post(2, ['carol'], 'another'), ['carol stored'])
  })

  it('and later ones are not', async () => {
    await using rig = await heldRig({}, { authenticator })
    const [alice, bob] = [await listen(rig, 'alice'), await listen(rig, 'bob')]
    alice.sendPost(1, ['nobody'], 'first')
    alice.sendPost(2, ['bob'], 'second')
    await alice.refused('unknown-user')
    assert.deepEqual(await alice.posted(), ['bob online'])
    assert.equal(textOf((await bob.delivery()).content), 'second')
  })
})

spec('a POST_MSG that may or may not be stored', (it) => {
  it('gets no reply but GOODBYE internal, which names no path, and the log has it', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    rig.storage.fail('append message', new Error('EIO /some/path'))
    alice.sendPost(1, ['bob'], 'hello')
    assert.ok(!(await alice.raw.dismissed('internal')).text.includes('path'))
    assert.ok(rig.log.some(({ event, text }) => event === 'request-failed' && `${text}`.includes('EIO')))
  })

  it('gets none if the authenticator fails either, since a repeated one may be stored', async () => {
    const failing = { ...authenticator, knows: () => Promise.reject(new Error('no route to the directory')) }
    await using rig = await heldRig({}, { authenticator: failing })
    const alice = await listen(rig, 'alice')
    alice.sendPost(1, ['bob'], 'hello')
    await alice.raw.dismissed('internal')
  })
})
