import assert from 'node:assert/strict'
import { allowAll } from '../../../lib/adapters/auth/unverified.ts'
import type { NotifyRule } from '../../../lib/server/files/fileNotices.ts'
import { decodeBody, encodeBody } from '../../../lib/wire/messageBody.ts'
import { concatenated } from '../../support/bytes.ts'
import { type FileClient, sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { type Delivered, heldRig, idOf, MessageClient } from '../../support/messageClient.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const { enter, listen } = MessageClient
const bytes = patterned(1_000)
const gone = new Error('the process is gone')

type Reference = NonNullable<ReturnType<typeof decodeBody>['attributes']['file']>

/** Returns the reference in a message, which has no other content. */
function referenceIn({ body }: Delivered): Reference {
  const { attributes, content } = decodeBody(body)
  assert.ok(attributes.file)
  assert.equal(content.length, 0)
  return attributes.file
}

/** Resolves with the names of the files that the next messages are about, and takes the messages. */
async function namesIn(recipient: MessageClient, count: number): Promise<string[]> {
  const names: string[] = []
  for (let left = count; left > 0; left--) {
    const message = await recipient.delivery()
    names.push(referenceIn(message).fileName)
    await recipient.take(message)
  }
  return names
}

const rigWith = (notify: readonly NotifyRule[], limits = {}) => heldRig(limits, { notify })
const notice = (number: number, ...recipients: string[]) => ({ messageId: idOf(number), recipients })

async function upload(client: FileClient, name: string, sent?: ReturnType<typeof notice>): Promise<void> {
  const { instance, progress } = await client.start({ name, bytes })
  if (progress === 0) await client.chunk(instance, 0, bytes)
  await client.end(instance, sha256(bytes), sent)
}

function sendRead({ raw }: Pick<FileClient, 'raw'>, { fileName, version, ...grant }: Reference): void {
  raw.send('ReadFileReq', { fileName, version, offset: 0, length: 10_000, grant })
}

async function read(client: Pick<FileClient, 'raw'>, reference: Reference): Promise<Uint8Array> {
  sendRead(client, reference)
  return concatenated((await client.raw.expect('ReadFileAck')).content)
}

async function readRefused(client: Pick<FileClient, 'raw'>, reference: Reference, code: 'gone' | 'unauthorized') {
  sendRead(client, reference)
  await client.raw.refused('ReadFileNack', code)
}

/** Starts a server that has sent bob a message about a file of alice. */
async function sentFile(limits = {}) {
  const rig = await heldRig(limits)
  const alice = await rig.client()
  await upload(alice, 'plan', notice(1, 'bob'))
  const bob = await listen(rig, 'bob')
  return { rig, alice, bob, reference: referenceIn(await bob.delivery()) }
}

spec('the message about a stored file', (it) => {
  it('reaches the users of the rules, once for each file and in order', async () => {
    await using rig = await rigWith([{ user: 'ingest' }, { user: 'pictures', pattern: '*.jp?g' }])
    const alice = await rig.client()
    await upload(alice, 'a')
    await alice.put({ name: 'b/c.jpeg', bytes })
    await alice.put({ name: 'd', bytes })
    const ingest = await listen(rig, 'ingest')
    assert.deepEqual(await namesIn(ingest, 3), ['a', 'b/c.jpeg', 'd'])
    assert.deepEqual(await namesIn(await listen(rig, 'pictures'), 1), ['b/c.jpeg'])
    assert.deepEqual(await rig.storage.transfers.unreported(), [])
  })

  it('reaches the recipients that its sender specifies, and describes the file', async () => {
    const { rig, reference } = await sentFile()
    await using _ = rig
    const { owner, fileName, size, modifiedAt, digest, fileDigest, readers } = reference
    assert.deepEqual([owner, fileName, size, modifiedAt, digest, readers], ['alice', 'plan', 1_000, 1_000, 2, ['bob']])
    assert.deepEqual(Buffer.from(fileDigest), Buffer.from(sha256(bytes)))
  })

  it('is sent again for a file that is already stored, and only once for each id', async () => {
    const { rig, alice, bob } = await sentFile()
    await using _ = rig
    for (const number of [1, 2, 2, 3]) await upload(alice, 'plan', notice(number, 'bob'))
    const ids = (await bob.deliveries(2)).map(({ messageId }) => messageId.at(-1))
    assert.deepEqual(ids, [2, 3])
    await turn()
    assert.deepEqual(bob.unread, [])
  })

  for (const [when, step] of [
    ['was verified', 'verified'],
    ['was published', 'publish'],
    ['was completed', 'complete'],
    ['has its message, before it counts as reported', 'append message'],
  ] as const) {
    it(`is stored once if the server is killed after the file ${when}`, async () => {
      await using rig = await rigWith([{ user: 'ingest' }])
      const alice = await rig.client()
      const { instance } = await alice.start({ name: 'plan', bytes })
      await alice.chunk(instance, 0, bytes)
      const held = rig.storage.hold(step, 'after')
      alice.sendEnd(instance, sha256(bytes), notice(1, 'bob', 'carol'))
      await held.reached
      held.fail(gone)
      await rig.crash()
      await rig.restart()
      await rig.clock.pass(1)
      for (const user of ['bob', 'carol', 'ingest']) {
        const recipient = await listen(rig, user)
        const message = await recipient.delivery()
        assert.deepEqual(await read(recipient, referenceIn(message)), bytes)
        await recipient.take(message)
        assert.deepEqual(recipient.unread, [], user)
      }
      assert.deepEqual(await rig.storage.transfers.unreported(), [])
    })
  }

  it('waits for the files of one user only', async () => {
    await using rig = await rigWith([{ user: 'ingest', pattern: '?' }], { mailboxMessages: 2, senderSharePercent: 50 })
    const [alice, carol] = [await rig.client(), await rig.client({ user: 'carol' })]
    for (const name of ['a', 'b']) await alice.put({ name, bytes })
    await turn()
    await alice.putRefused({ name: 'other', bytes }, 'mailbox-full')
    await carol.put({ name: 'other', bytes })
    await rig.clock.pass(5_000)
    await turn()
    assert.equal(rig.log.filter(({ event }) => event === 'file-messages-wait').length, 1)
  })

  it('waits while a mailbox is full, and the server accepts no further file', async () => {
    await using rig = await rigWith([{ user: 'ingest' }], { mailboxMessages: 2, senderSharePercent: 100 })
    const alice = await rig.client()
    for (const name of ['a', 'b', 'c']) await alice.put({ name, bytes })
    await turn()
    await alice.putRefused({ name: 'd', bytes }, 'mailbox-full')
    await alice.startRefused({ name: 'd', bytes }, 'mailbox-full')
    assert.deepEqual(
      rig.log.filter(({ event }) => event === 'file-messages-wait').map(({ recipients }) => recipients),
      ['ingest'],
    )
    const ingest = await listen(rig, 'ingest')
    assert.deepEqual(await namesIn(ingest, 2), ['a', 'b'])
    await rig.clock.pass(1_000)
    assert.deepEqual(await namesIn(ingest, 1), ['c'])
    await alice.put({ name: 'd', bytes })
    assert.deepEqual(await namesIn(ingest, 1), ['d'])
  })

  it('waits while the server is full, which is logged without recipients', async () => {
    await using rig = await rigWith([{ user: 'ingest' }], { messageStoreBytes: 20 })
    await (await rig.client()).put({ name: 'a', bytes })
    await turn()
    const [entry] = rig.log.filter(({ event }) => event === 'file-messages-wait')
    assert.deepEqual([entry?.code, entry?.recipients], ['disk-full', undefined])
  })

  it('is not lost if the file is replaced before the message is stored', async () => {
    await using rig = await rigWith([{ user: 'ingest' }])
    const alice = await rig.client()
    const held = rig.storage.hold('append message', 'before')
    await alice.put({ name: 'plan', bytes })
    await held.reached
    alice.sendPut({ name: 'plan', bytes: patterned(2_000) })
    for (let turns = 0; turns < 10; turns++) await turn()
    held.fail(gone)
    await rig.crash()
    await rig.restart()
    await rig.clock.pass(1)
    const ingest = await listen(rig, 'ingest')
    assert.equal(referenceIn(await ingest.delivery()).size, 1_000)
  })

  it('is not lost if the file is replaced during a retry for a full mailbox', async () => {
    await using rig = await rigWith([{ user: 'ingest' }], { mailboxMessages: 2, senderSharePercent: 100 })
    const alice = await rig.client()
    for (const name of ['a', 'b', 'c']) await alice.put({ name, bytes })
    await turn()
    const held = rig.storage.hold('append message', 'before')
    const passing = rig.clock.pass(1_000)
    await held.reached
    alice.sendPut({ name: 'c', bytes: patterned(2_000) })
    for (let turns = 0; turns < 10; turns++) await turn()
    held.go()
    await passing
    await alice.raw.refused('PutFileNack', 'mailbox-full')
    const ingest = await listen(rig, 'ingest')
    await namesIn(ingest, 2)
    await rig.clock.pass(5_000)
    const message = await ingest.delivery()
    assert.deepEqual([referenceIn(message).fileName, referenceIn(message).size], ['c', 1_000])
  })

  for (const isKilled of [false, true]) {
    it(`is not lost if the file is removed while the message waits${isKilled ? ', and the server is killed' : ''}`, async () => {
      await using rig = await rigWith([{ user: 'ingest' }], { mailboxMessages: 2, senderSharePercent: 100 })
      const alice = await rig.client()
      for (const name of ['a', 'b', 'c']) await alice.put({ name, bytes })
      await turn()
      alice.raw.send('RemoveFileReq', { fileName: 'c', version: '' })
      await alice.raw.expect('RemoveFileAck')
      if (isKilled) {
        await rig.crash()
        await rig.restart()
      }
      const ingest = await listen(rig, 'ingest')
      assert.deepEqual(await namesIn(ingest, 2), ['a', 'b'])
      await rig.clock.pass(5_000)
      assert.deepEqual(await namesIn(ingest, 1), ['c'])
      assert.deepEqual(await rig.storage.transfers.unreported(), [])
    })
  }

  it('follows all waiting messages about earlier files of the user', async () => {
    await using rig = await rigWith([{ user: 'ingest' }], { mailboxMessages: 2, senderSharePercent: 100 })
    const [alice, carol] = [await rig.client(), await rig.client({ user: 'carol' })]
    for (const name of ['a', 'b']) await alice.put({ name, bytes })
    const first = rig.storage.hold('append message')
    await alice.put({ name: 'c', bytes })
    await first.reached
    await carol.put({ name: 'd', bytes })
    await alice.put({ name: 'e', bytes })
    first.go()
    await turn()
    // The mailbox has space again after the message about `c` was refused.
    const second = rig.storage.hold('append message', 'after')
    const passing = rig.clock.pass(1_000)
    await second.reached
    const ingest = await listen(rig, 'ingest')
    const names = await namesIn(ingest, 2)
    second.go()
    await passing
    for (let count = 0; count < 3; count++) {
      names.push(...(await namesIn(ingest, 1)))
      await rig.clock.pass(5_000)
    }
    assert.deepEqual(names, ['a', 'b', 'd', 'c', 'e'])
  })

  it('is not overtaken by a smaller one while the mailbox has space only for that one', async () => {
    await using rig = await rigWith([{ user: 'ingest' }], { mailboxBytes: 400, senderSharePercent: 100 })
    const alice = await rig.client()
    const held = rig.storage.hold('append message')
    for (const name of ['a', 'b'.repeat(200), 'c']) await alice.put({ name, bytes })
    await held.reached
    held.go()
    for (let turns = 0; turns < 10; turns++) await turn()
    await rig.clock.pass(5_000)
    for (let turns = 0; turns < 10; turns++) await turn()
    const ingest = await listen(rig, 'ingest')
    const names: string[] = []
    for (let count = 0; count < 3; count++) {
      names.push(...(await namesIn(ingest, 1)))
      await rig.clock.pass(10_000)
    }
    assert.deepEqual(
      names.map((name) => name.slice(0, 1)),
      ['a', 'b', 'c'],
    )
  })

  it('is refused at the start of an upload, and at its end, if a recipient does not exist or has no space', async () => {
    const authenticator = { ...allowAll(), knows: async (name: string) => name !== 'nobody' }
    await using rig = await heldRig({ mailboxMessages: 1, senderSharePercent: 100 }, { authenticator })
    const alice = await rig.client()
    const { text } = await alice.startRefused({ name: 'a', bytes, recipients: ['bob', 'nobody'] }, 'unknown-user')
    assert.equal(text, 'unknown user: nobody')
    const { instance } = await alice.start({ name: 'a', bytes, recipients: ['bob'] })
    await alice.chunk(instance, 0, bytes)
    await upload(await rig.client({ user: 'eve' }), 'of eve', notice(1, 'bob'))
    await alice.startRefused({ name: 'b', bytes, recipients: ['bob'] }, 'mailbox-full')
    alice.sendEnd(instance, sha256(bytes), notice(2, 'bob'))
    await alice.raw.refused('FileMd5Nack', 'mailbox-full')
    assert.equal(await rig.stored('a'), undefined)
    const [record] = await rig.records()
    assert.equal(record?.verified, undefined)
  })
})

spec('a reference to a file', (it) => {
  it('permits only its recipients to read this version of the file, until it expires', async () => {
    const { rig, bob, alice, reference } = await sentFile({ messageAgeMs: 60_000 })
    await using _ = rig
    await alice.put({ name: 'other', bytes })
    assert.deepEqual(await read(bob, reference), bytes)
    await readRefused(await enter(rig, 'eve'), reference, 'unauthorized')
    const forged: Partial<Reference>[] = [
      { fileName: 'other' },
      { version: 'v' },
      { owner: 'bob' },
      { readers: ['bob', 'eve'] },
      { until: reference.until + 1 },
      { proof: new Uint8Array(32) },
      { proof: new Uint8Array() },
    ]
    for (const change of forged) await readRefused(bob, { ...reference, ...change }, 'unauthorized')
    await rig.clock.pass(60_001)
    await readRefused(await enter(rig, 'bob'), reference, 'gone')
  })

  it('stays valid after a restart of the server', async () => {
    const { rig, reference } = await sentFile()
    await using _ = rig
    await rig.server.close()
    await rig.restart()
    assert.deepEqual(await read(await enter(rig, 'bob'), reference), bytes)
  })

  it('is gone after its owner has removed or replaced the file', async () => {
    const { rig, bob, alice, reference } = await sentFile()
    await using _ = rig
    await alice.put({ name: 'plan', bytes: patterned(2_000) })
    await readRefused(bob, reference, 'gone')
    alice.raw.send('RemoveFileReq', { fileName: 'plan', version: '' })
    await alice.raw.expect('RemoveFileAck')
    await readRefused(bob, reference, 'gone')
  })

  it('is not accepted from a client', async () => {
    const { rig, bob, reference } = await sentFile()
    await using _ = rig
    const body = encodeBody({ file: reference }, new Uint8Array())
    bob.raw.send('PostMsgReq', { messages: [{ messageId: idOf(9), recipients: ['eve'], body }] }, bob.instance)
    const { refused } = await bob.raw.expect('PostMsgAck')
    assert.equal(refused[0]?.code, 1)
  })
})
