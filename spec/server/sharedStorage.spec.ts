import assert from 'node:assert/strict'
import { OspError } from '../../lib/errors.ts'
import { defaultLimits } from '../../lib/limits.ts'
import { hex } from '../../lib/runtime/hex.ts'
import { sha256 } from '../support/fileClient.ts'
import { patterned } from '../support/memorySource.ts'
import { bodyOf, MessageClient } from '../support/messageClient.ts'
import { manualPlatform } from '../support/serverRig.ts'
import { sharedRig } from '../support/sharedRig.ts'
import { spec } from '../support/spec.ts'
import { pass, turn } from '../support/turn.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }
const piece = (from: number, to: number) => bytes.subarray(from, to)

type Rig = Awaited<ReturnType<typeof sharedRig>>

/** Claims the upload as another server does for the same session, and continues it up to `to`. */
async function continueElsewhere(rig: Rig, from: number, to: number): Promise<void> {
  const { storage } = rig
  const [record] = await rig.records()
  assert.ok(record)
  const how = { fresh: false, takeOver: false, onConflict: 'replace', at: record.updatedAt } as const
  const claimed = await storage.transfers.claim(record, { ...record.owner, node: 1_000 }, how)
  assert.ok('claim' in claimed)
  await using partial = await storage.files.open(claimed.claim)
  await partial.truncate(from)
  await partial.write(from, [piece(from, to)])
  await partial.flush()
  const checkpoint = { offset: to, digest: sha256(piece(0, to)) }
  await storage.transfers.checkpoint(claimed.claim, [checkpoint], record.updatedAt)
}

/** Records an upload as verified, by a server that has died before it was published. */
async function verifyElsewhere({ storage }: Rig, name: string): Promise<void> {
  const want = { user: 'alice', name, size: 1_000, modifiedAt: 1, algorithm: 'sha256' } as const
  const owner = { node: 1_000, instance: 1, session: '00'.repeat(16) }
  const how = { fresh: true, takeOver: false, onConflict: 'replace', at: 1 } as const
  const claimed = await storage.transfers.claim(want, owner, how)
  assert.ok('claim' in claimed)
  await using partial = await storage.files.open(claimed.claim)
  await partial.write(0, [bytes])
  await partial.flush()
  const stored = { user: 'alice', name, storedName: name, replaced: false, size: 1_000, digest: hex(sha256(bytes)) }
  await storage.transfers.verified(claimed.claim, { ...stored, algorithm: 'sha256' })
}

spec('the files of a user that other servers store', (it) => {
  it('are counted again for a quota after 10 s, before a refusal or after an admission', async () => {
    const platform = manualPlatform()
    await using rig = await sharedRig({ entryBytes: 0, userBytes: 1_000, keepAliveMs: 3_600_000 }, platform)
    const alice = await rig.client()
    const { instance } = await alice.start({ name: 'a', bytes: piece(0, 400) })
    rig.storage.besides = 1_000
    await pass(platform.clock, 9_999)
    await alice.start({ name: 'b', bytes: piece(0, 100) })
    assert.equal(rig.storage.recounts, 0)
    await pass(platform.clock, 1)
    await alice.start({ name: 'c', bytes: piece(0, 100) })
    await turn()
    assert.equal(rig.storage.recounts, 1)
    await alice.chunkRefused(instance, 0, piece(0, 400), 'quota-exceeded')
    await alice.startRefused({ name: 'd', bytes: piece(0, 100) }, 'quota-exceeded')
  })
})

spec('an upload in a storage that other servers share', (it) => {
  it('is released for them when its link is lost, after its bytes are durable', async () => {
    await using rig = await sharedRig()
    const alice = await rig.client()
    const { instance } = await alice.start(file)
    await alice.chunk(instance, 0, piece(0, 400))
    await alice.vanish()
    await turn()
    const [record] = await rig.records()
    assert.equal(record?.checkpoints.at(-1)?.offset, 400)
    assert.deepEqual(rig.shared.released, [{ user: 'alice', name: 'a', token: record?.token }])
  })

  it('is released when it is paused, before the reply', async () => {
    await using rig = await sharedRig()
    const alice = await rig.client()
    const { instance } = await alice.start(file)
    await alice.chunk(instance, 0, piece(0, 400))
    await alice.pause(instance)
    assert.deepEqual(
      rig.shared.released.map(({ name }) => name),
      ['a'],
    )
  })

  it('is not released after it is stored', async () => {
    await using rig = await sharedRig()
    const alice = await rig.client()
    const { instance } = await alice.start(file)
    await alice.chunk(instance, 0, bytes)
    await alice.end(instance, sha256(bytes))
    assert.deepEqual(rig.shared.released, [])
  })

  it('that another server has claimed is refused to its link as superseded at once', async () => {
    await using rig = await sharedRig()
    const alice = await rig.client()
    const { instance } = await alice.start(file)
    const [record] = await rig.records()
    assert.ok(record)
    rig.shared.end(record, 'superseded')
    await alice.chunkRefused(instance, 0, piece(0, 100), 'superseded')
    assert.equal(rig.storage.partials, 0)
  })

  it('that another server has removed is refused to its link as cancelled', async () => {
    await using rig = await sharedRig()
    const alice = await rig.client()
    const { instance } = await alice.start(file)
    const [record] = await rig.records()
    assert.ok(record)
    rig.shared.end(record, 'cancelled')
    await alice.chunkRefused(instance, 0, piece(0, 100), 'cancelled')
  })

  it('that another server claims while it is opened here is refused to its link as superseded', async () => {
    await using rig = await sharedRig()
    const alice = await rig.client()
    const opening = rig.storage.hold('open')
    const starting = alice.start(file)
    await opening.reached
    const [record] = await rig.records()
    assert.ok(record)
    rig.shared.end(record, 'superseded')
    opening.go()
    const { instance } = await starting
    await turn()
    assert.deepEqual(rig.server.status().uploads, [])
    await alice.chunkRefused(instance, 0, piece(0, 100), 'superseded')
    assert.equal(rig.storage.partials, 0)
  })

  it('goes on if an earlier claim of this server has ended', async () => {
    await using rig = await sharedRig()
    const alice = await rig.client()
    const { instance } = await alice.start(file)
    const [record] = await rig.records()
    assert.ok(record)
    rig.shared.end({ ...record, token: record.token - 1 }, 'superseded')
    assert.equal((await alice.chunk(instance, 0, piece(0, 100))).progress, 100)
  })

  it('that another server has continued goes on from there, even without a notification', async () => {
    await using rig = await sharedRig()
    const alice = await rig.client()
    const { instance } = await alice.start(file)
    await alice.chunk(instance, 0, piece(0, 400))
    await alice.pause(instance)
    await continueElsewhere(rig, 400, 700)
    const again = await alice.continue(file)
    assert.equal(again.progress, 700)
    await alice.chunk(again.instance, 700, piece(700, 1_000))
    await alice.end(again.instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })

  it('goes on at its last checkpoint if another server has written without one', async () => {
    await using rig = await sharedRig()
    const alice = await rig.client()
    const { instance } = await alice.start(file)
    await alice.chunk(instance, 0, piece(0, 400))
    await alice.pause(instance)
    const [record] = await rig.records()
    assert.ok(record)
    const how = { fresh: false, takeOver: false, onConflict: 'replace', at: 1 } as const
    const claimed = await rig.storage.transfers.claim(record, record.owner, how)
    assert.ok('claim' in claimed)
    {
      await using partial = await rig.storage.files.open(claimed.claim)
      await partial.write(400, [new Uint8Array(100)])
    }
    const again = await alice.continue(file)
    assert.equal(again.progress, 400)
    await alice.chunk(again.instance, 400, piece(400, 1_000))
    await alice.end(again.instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })

  it('is removed and announced on behalf of the link that requests it', async () => {
    await using rig = await sharedRig()
    const alice = await rig.client()
    const link = { user: 'alice', session: hex(sessionOf('one')), node: alice.node }
    await alice.start(file)
    await alice.cancel('a')
    assert.deepEqual(rig.shared.removers, [link])
    await alice.put(file)
    assert.deepEqual(rig.shared.announcers, [link])
  })

  it('that is verified is published by another server after its own server has died', async () => {
    await using rig = await sharedRig()
    await verifyElsewhere(rig, 'a')
    const [record] = await rig.records()
    assert.ok(record)
    rig.shared.abandoned = [record]
    const stored: string[] = []
    rig.server.on('stored', ({ name }) => stored.push(name))
    rig.shared.events().serverLost()
    await turn()
    await rig.assertStored('a', bytes)
    assert.deepEqual([stored, (await rig.records()).length], [['a'], 0])
  })

  it('that begins anew at another server stays while this one fails to publish an earlier version of the file', async () => {
    await using rig = await sharedRig()
    await verifyElsewhere(rig, 'a')
    rig.shared.abandoned = await rig.records()
    const publishing = rig.storage.hold('publish')
    rig.shared.events().serverLost()
    await publishing.reached
    await rig.storage.transfers.remove('alice', 'a')
    await verifyElsewhere(rig, 'a')
    publishing.fail(new OspError('digest-mismatch', 'the partial file is missing'))
    await turn()
    assert.equal((await rig.records()).length, 1)
    assert.deepEqual(
      rig.log.filter(({ level }) => level === 'error'),
      [],
    )
  })

  it('that is verified is left to its own server when another server starts', async () => {
    await using rig = await sharedRig()
    await verifyElsewhere(rig, 'a')
    await verifyElsewhere(rig, 'b')
    rig.shared.abandoned = (await rig.records()).filter(({ name }) => name === 'b')
    await rig.server.close()
    await rig.restart()
    assert.deepEqual(
      (await rig.records()).map(({ name }) => name),
      ['a'],
    )
    await rig.assertStored('b', bytes)
  })
})

spec('a mailbox in a storage that other servers share', (it) => {
  it('is delivered to its user here when another server has appended to it', async () => {
    await using rig = await sharedRig()
    const bob = await MessageClient.listen(rig, 'bob')
    const message = { sender: 'alice', id: new Uint8Array(16), sentAt: 1, storedAt: 1, recipients: ['bob'] }
    const { mailboxMessages: messages, mailboxBytes, waitingMessages, senderIds, messageIds } = defaultLimits
    const bounds = { messages, bytes: mailboxBytes, allMessages: waitingMessages, senderIds, allIds: messageIds }
    const content = bodyOf('hello')
    const shared = {
      ...bounds,
      allBytes: defaultLimits.messageStoreBytes,
      sharePercent: 100,
      reserveBytes: 0,
      receipts: 0,
    }
    assert.deepEqual(await rig.storage.mailboxes.append([{ ...message, content }], shared), [undefined])
    await turn()
    assert.deepEqual(bob.unread, [])
    rig.shared.appended('bob')
    rig.shared.appended('eve')
    assert.equal((await bob.delivery()).sender, 'alice')
  })

  it('is delivered in its window, also after the recipient at another server has answered a message that is repeated', async () => {
    const platform = manualPlatform()
    await using rig = await sharedRig({ deliveryWindow: 1, deliveryMs: 1_000 }, platform)
    const bob = await MessageClient.listen(rig, 'bob')
    await bob.post(1, ['bob'], 'one')
    await bob.post(2, ['bob'], 'two')
    const first = await bob.delivery()
    await rig.storage.mailboxes.remove('bob', [first.mailboxSeq])
    await pass(platform.clock, 1_000)
    await pass(platform.clock, 10_000)
    assert.deepEqual(bob.unread, [])
    await bob.take(first)
    assert.equal((await bob.delivery()).mailboxSeq, first.mailboxSeq + 1)
  })

  it('is read for the registration that receives its messages', async () => {
    await using rig = await sharedRig()
    const bob = await MessageClient.listen(rig, 'bob')
    await turn()
    assert.deepEqual(
      rig.shared.readers.map((reader) => [reader?.user, reader?.node]),
      [['bob', bob.node]],
    )
  })
})

/** Returns the session of a raw client with this name. */
function sessionOf(word: string): Uint8Array {
  const session = new Uint8Array(16)
  session.set(new TextEncoder().encode(word))
  return session
}
