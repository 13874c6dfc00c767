import assert from 'node:assert/strict'
import type { ImportedMarker, ImportOrigin, Steps } from '../../../../lib/adapters/cluster/steps.ts'
import { nodePlatform } from '../../../../lib/adapters/node/nodePlatform.ts'
import { receiptMailbox } from '../../../../lib/names.ts'
import type { AddressedMessage } from '../../../../lib/ports/mailboxes.ts'
import type { StoredFile, TransferRecord } from '../../../../lib/ports/storage.ts'
import type { CopiedMessage } from '../../../../lib/storage/mailboxes/copies.ts'
import { bodyFingerprintOf, writeMessage } from '../../../../lib/storage/mailboxes/records.ts'
import { long, message, roomy } from '../../../../lib/testing/storage/mailSteps.ts'
import type { Checks } from '../../../../lib/testing/testCases.ts'
import { decodeBody, encodeBody } from '../../../../lib/wire/messageBody.ts'
import { entered, eventually, infoOf, longMs, newSession, type SharedStoreFixture } from './fixture.ts'

const origin: ImportOrigin = { id: 'a'.repeat(64), place: '/srv/one', lastSeq: 10, lastTime: 5_000 }

const { crc32 } = nodePlatform()
const receipts = receiptMailbox('alice')

/** Returns a message of alice as another storage contains it. */
function copyOf(seq: number, given: AddressedMessage, aside: readonly string[] = [], left = given.recipients) {
  const fingerprint = bodyFingerprintOf(writeMessage(seq, given, given.recipients, crc32))
  const mailboxes = left.map((user) => ({ user, isAside: aside.includes(user) }))
  return { ...given, seq, fingerprint, mailboxes } satisfies CopiedMessage
}

/** Returns the messages of a mailbox, as their seqs and numbers. */
async function waitingIn({ mail }: Steps, user: string): Promise<(readonly [seq: number, number: number])[]> {
  const [found = []] = await mail.read([{ user, afterSeq: 0 }], 1_000, 1_000_000)
  return found.map(({ seq, id }) => [seq, new DataView(id.buffer, id.byteOffset).getUint32(0)] as const)
}

const file: StoredFile = {
  ...{ user: 'alice', name: 'a', storedName: 'a (2)', replaced: false, size: 10, algorithm: 'sha256', digest: 'ab01' },
}

export const importChecks: Checks<SharedStoreFixture> = {
  'begins once, and is listed': async (store) => {
    const { imports } = await store.connect()
    assert.deepEqual(await imports.list(), [])
    const begun = await imports.begin(origin)
    const { server, ...rest } = begun
    assert.deepEqual(rest, { id: origin.id, place: origin.place, seqShift: 0, ageShift: 0 })
    assert.deepEqual(await imports.begin(origin), begun)
    await imports.finish(origin.id)
    const [finished] = await imports.list()
    const { finishedAt, ...listed } = finished ?? {}
    assert.deepEqual(listed, begun)
    assert.equal(typeof finishedAt, 'number')
    await imports.finish(origin.id)
    assert.deepEqual(await imports.begin(origin), finished)
  },
  'begins only while no server is alive': async (store) => {
    const { steps, server } = await entered(store)
    await assert.rejects(steps.imports.begin(origin), { code: 'data-locked', message: /a server/u })
    assert.deepEqual(await steps.imports.list(), [])
    await steps.leave(server)
    await steps.imports.begin(origin)
  },
  'ends the time to live of an imported message': async (store) => {
    const { steps, server } = await entered(store)
    const given = { ...message(1, { expiresAt: 1_001 }), recipients: ['bob', 'eve'] }
    for (let times = 0; times < 2; times++) await steps.imports.addMessages(server, [copyOf(20, given)])
    const { expired } = await steps.mail.expire(server, 0, 0, 10, 1_001)
    assert.deepEqual(
      expired.toSorted((a, b) => (a.user < b.user ? -1 : 1)),
      [
        { user: 'bob', messages: 1 },
        { user: 'eve', messages: 1 },
      ],
    )
  },
  'keeps receipts, and gives those of imported messages, except of messages that were set aside': async (store) => {
    const { steps, server } = await entered(store)
    const asking = { ...message(1, { receipt: true }), recipients: ['bob', 'eve'] }
    const about = { messageId: message(9).id, recipient: 'dan', state: 1, at: 5 }
    const receipt = {
      ...message(2, { content: encodeBody({ receipt: about }, new Uint8Array()) }),
      recipients: [receipts],
    }
    const copies = [copyOf(20, asking, ['eve']), { ...copyOf(21, receipt), isReceipt: true }]
    for (let times = 0; times < 2; times++) await steps.imports.addMessages(server, copies)
    const page = { aside: false, afterSeq: 0, most: 9, mostBytes: 9_999 }
    assert.equal((await steps.mail.list(receipts, page)).length, 1)
    assert.equal((await steps.mail.list('bob', page))[0]?.receipt, true)
    assert.deepEqual(await steps.mail.remove(server, [{ user: 'eve', seqs: [20] }]), [])
    assert.deepEqual(await steps.mail.remove(server, [{ user: 'bob', seqs: [20] }]), ['alice'])
    const found = (await steps.mail.list(receipts, page)).map(({ content }) => decodeBody(content).attributes.receipt)
    assert.deepEqual(found.map((each) => each?.recipient).toSorted(), ['bob', 'dan'])
  },
  'ends servers whose lease has expired, so that they do not continue': async (store) => {
    const { steps, server } = await entered(store, 1)
    await eventually(async () => (await steps.servers()).every(({ leaseMs }) => leaseMs < 0) || undefined)
    await steps.imports.begin(origin)
    assert.equal(await steps.renew(server, longMs, 0, {}), false)
  },
  'keeps servers and other imports out until it is finished': async (store) => {
    const steps = await store.connect()
    await steps.imports.begin(origin)
    const refused = { code: 'data-format', message: /the import of \/srv\/one .*is not finished/u }
    await assert.rejects(steps.enter(infoOf('a'), longMs), refused)
    await assert.rejects(steps.imports.begin({ ...origin, id: 'b' }), refused)
    await steps.imports.finish(origin.id)
    const server = await steps.enter(infoOf('a'), longMs)
    await steps.leave(server)
    await steps.imports.begin({ ...origin, id: 'b' })
  },
  'adds users with their times, once, and none that looks like another one': async (store) => {
    const steps = await store.connect()
    await steps.setUser('carol', Uint8Array.of(9))
    const users = ['alice', 'bob'].map((name, at) => ({ name, tokenHash: Uint8Array.of(at), since: 1_000 * at }))
    await steps.imports.addUsers(users)
    await steps.setUser('bob', Uint8Array.of(7))
    await steps.imports.addUsers(users)
    const found = (await steps.users(0))?.users ?? []
    assert.deepEqual(found.map(({ name, tokenHash }) => [name, ...tokenHash]).sort(), [
      ['alice', 0],
      ['bob', 7],
      ['carol', 9],
    ])
    assert.equal(found.find(({ name }) => name === 'alice')?.since, 0)
    const alike = [{ name: 'Carol', tokenHash: Uint8Array.of(1), since: 1 }]
    await assert.rejects(steps.imports.addUsers(alike), { code: 'name-conflict' })
  },
  'makes all users log in, even if it adds none': async (store) => {
    const steps = await store.connect()
    const before = (await steps.users(0))?.version ?? 0
    await steps.imports.addUsers([])
    assert.ok(((await steps.users(0))?.version ?? 0) > before)
  },
  'adds messages and ids once, after those of the store': async (store) => {
    const first = await entered(store)
    const old = [1, 2].map((number) => ({ ...message(number), recipients: ['zoe'] }))
    await first.steps.mail.post(first.server, old, roomy)
    await first.steps.leave(first.server)
    const { imports } = first.steps
    const lastSeq = await first.steps.mail.lastSeq()
    const { server, seqShift, ageShift } = await imports.begin(origin)
    assert.equal(seqShift, lastSeq)
    assert.equal(ageShift, 2 - origin.lastTime)
    const shared = { ...long(13, 3_000), recipients: ['bob', 'élise'] }
    const partly = { ...long(14, 3_000), recipients: ['bob', 'élise'] }
    const copies = [
      copyOf(3, { ...message(11), recipients: ['bob'] }),
      copyOf(5, { ...message(12), recipients: ['bob'] }, ['bob']),
      copyOf(7, shared),
      copyOf(8, partly, [], ['élise']),
    ].map((copy) => ({ ...copy, seq: copy.seq + seqShift }))
    const gone = { ...message(15), recipients: ['bob'] }
    const ids = [...copies, copyOf(1, gone)]
    for (let time = 0; time < 2; time++) {
      // In another order, and in parts, as a repeated import may add them.
      await imports.addMessages(server, time === 0 ? copies.slice(2) : copies)
      await imports.addIds(server, time === 0 ? ids.slice(1, 3) : ids)
    }
    await imports.finish(origin.id)
    const second = await entered(store)
    const { mail } = second.steps
    const at = (...pairs: [seq: number, number: number][]) => pairs.map(([seq, number]) => [seq + seqShift, number])
    assert.deepEqual(await waitingIn(second.steps, 'bob'), at([3, 11], [7, 13]))
    assert.deepEqual(await waitingIn(second.steps, 'élise'), at([7, 13], [8, 14]))
    const { handed } = await mail.listen(second.link('bob', 1))
    assert.equal(handed, 7 + seqShift)
    const levels = (await mail.levels(10)).map(({ user, messages, bytes }) => [user, messages, bytes])
    const bytesOf = (numbers: number[]) => numbers.reduce((sum, number) => sum + message(number).content.length, 0)
    assert.deepEqual(levels.sort(), [
      ['bob', 3, bytesOf([11, 12]) + 3_000],
      ['zoe', 2, bytesOf([1, 2])],
      ['élise', 2, 6_000],
    ])
    const repeated = [shared, partly, gone, { ...gone, recipients: ['zoe'] }]
    const fresh = { ...message(16), recipients: ['bob'] }
    const { outcomes } = await mail.post(second.server, [...repeated, fresh], roomy)
    assert.deepEqual(
      outcomes.map((refusal) => refusal?.code),
      [undefined, undefined, undefined, 'id-reused', undefined],
    )
    const added = (await waitingIn(second.steps, 'bob')).slice(2)
    assert.deepEqual(
      added.map(([, number]) => number),
      [16],
    )
    assert.ok((added[0]?.[0] ?? 0) > seqShift + origin.lastSeq, `the seq of a new message is ${added[0]?.[0]}`)
    // The totals count the imported messages and ids.
    const full = await mail.post(second.server, [{ ...message(17), recipients: ['bob'] }], { ...roomy, allMessages: 8 })
    assert.equal(full.outcomes[0]?.code, 'mailbox-full')
    const limited = await mail.post(second.server, [{ ...message(17), recipients: ['bob'] }], { ...roomy, allIds: 8 })
    assert.equal(limited.outcomes[0]?.code, 'rate-limited')
  },
  'keeps the seqs and the age clock of the storage if the store is empty': async (store) => {
    const steps = await store.connect()
    const { seqShift, ageShift, server } = await steps.imports.begin(origin)
    assert.deepEqual([seqShift, ageShift], [0, 0])
    await steps.imports.finish(origin.id)
    assert.equal(await steps.lastTime(), origin.lastTime)
    const listed = (await steps.servers()).filter(({ isDead }) => !isDead)
    assert.deepEqual(listed, [], `the number ${server} is that of a dead server`)
  },
  'adds uploads that no link holds, with their checkpoints, once': async (store) => {
    const steps = await store.connect()
    const { server } = await steps.imports.begin(origin)
    const session = newSession()
    const record: TransferRecord = {
      ...{ user: 'alice', name: 'a/b', size: 1_000, modifiedAt: 5, algorithm: 'sha256', token: 77, updatedAt: 8.5 },
      owner: { node: 9, instance: 4, session },
      superseded: [newSession()],
      metadata: { contentType: 'text/plain' },
      checkpoints: [
        { offset: 10, digest: Uint8Array.of(1, 2) },
        { offset: 500, digest: new Uint8Array() },
      ],
    }
    const verified: TransferRecord = {
      ...record,
      name: 'c',
      verified: { ...file, name: 'c', size: 1_000 },
      verifiedStamp: 'stamp',
    }
    for (const each of [record, verified, record, verified]) await steps.imports.addUpload(server, each)
    const [first, second, ...more] = await steps.transfers.records('alice', undefined, 10)
    assert.equal(more.length, 0)
    const { token = 0, ...found } = first ?? {}
    const { token: _, ...kept } = record
    assert.deepEqual(found, { ...kept, owner: { node: 0, instance: 0, session } })
    assert.ok(token > 0)
    assert.deepEqual([second?.verified, second?.verifiedStamp], [verified.verified, 'stamp'])
    const { uploads, bytes } = await steps.transfers.totals('alice', [], 0)
    assert.deepEqual([uploads, bytes], [2, 1_500])
    assert.deepEqual(
      (await steps.transfers.abandoned()).records.map(({ name }) => name),
      ['c'],
    )
    await steps.imports.finish(origin.id)
    assert.deepEqual(await steps.imports.usedNames(), ['alice'])
  },
  'adds completion markers with their ends, once, and servers report those that were not reported': async (store) => {
    const steps = await store.connect()
    const { server } = await steps.imports.begin(origin)
    const marker: ImportedMarker = {
      ...{ file, version: 'v1', modifiedAt: 5, until: Number.MAX_SAFE_INTEGER, reported: true },
    }
    const others = [
      { ...marker, file: { ...file, name: 'b' }, reported: false },
      { ...marker, file: { ...file, name: 'c' }, until: 1 },
    ]
    await steps.imports.addMarkers(server, [marker, ...others])
    await steps.imports.addMarkers(server, [{ ...marker, version: 'v2' }, ...others])
    await steps.imports.finish(origin.id)
    const next = await entered(store)
    const announced = { file, version: 'v1', modifiedAt: 5 }
    assert.deepEqual(await next.steps.transfers.marker('alice', 'a'), announced)
    assert.equal(await next.steps.transfers.marker('alice', 'c'), undefined)
    const unreported = await next.steps.transfers.unreported(next.server)
    assert.deepEqual(
      unreported.map(({ file: { name } }) => name),
      ['b'],
    )
  },
  'names all users of the store': async (store) => {
    const { steps, server } = await entered(store)
    await steps.setUser('user', Uint8Array.of(1))
    await steps.mail.post(server, [{ ...message(1, { sender: 'sender' }), recipients: ['recipient'] }], roomy)
    assert.deepEqual([...(await steps.imports.usedNames())].sort(), ['recipient', 'sender', 'user'])
  },
}
