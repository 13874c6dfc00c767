import assert from 'node:assert/strict'
import { OspError } from '../../lib/errors.ts'
import { fixed } from '../../lib/limits.ts'
import type { Authenticator } from '../../lib/ports/authenticator.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import { logEvents } from '../../lib/server/logEvents.ts'
import { type FileClient, sha256 } from '../support/fileClient.ts'
import { heldRig, MessageClient } from '../support/messageClient.ts'
import { ServerRig } from '../support/serverRig.ts'
import { spec } from '../support/spec.ts'
import { turn } from '../support/turn.ts'

const secret = 'osp_SECRET'
const token = `${secret}_token`
const bytes = new TextEncoder().encode(`${secret}_content`.repeat(100))
const digest = sha256(bytes)
const size = bytes.length

/** Lets in who has the token. */
const authenticator: Authenticator = {
  authenticate: async ({ user, token: given }) => {
    if (given !== token) throw new OspError('unauthorized', 'the token is not the one of this user')
    return { user }
  },
  knows: async () => true,
}

/** The lines of these events, without what is the same in all. */
function lines(log: readonly LogEntry[], ...events: readonly (keyof typeof logEvents)[]): readonly object[] {
  const chosen = log.filter(({ event }) => (events as readonly string[]).includes(event))
  return chosen.map(({ level: _level, from: _from, ...entry }) => entry)
}

/** Every line is as the table has it, says where a link comes from, and nothing of a token or of content. */
function sound(log: readonly LogEntry[]): void {
  for (const { level, event, ...fields } of log) {
    const { level: own, fields: known } = logEvents[event as keyof typeof logEvents]
    assert.equal(level, own, event)
    for (const field of Object.keys(fields))
      assert.ok((known as readonly string[]).includes(field), `${event} ${field}`)
    if ('node' in fields) assert.ok(typeof fields.from === 'string' && fields.from !== '', event)
  }
  assert.ok(!JSON.stringify(log).includes(secret))
  assert.ok(!JSON.stringify(log).includes(Buffer.from(bytes).toString('base64').slice(0, 20)))
}

/** An upload's first bytes; resolves with its instance. */
async function begin(client: FileClient, name: string): Promise<number> {
  const { instance } = await client.start({ name, bytes })
  await client.chunk(instance, 0, bytes.subarray(0, 10))
  return instance
}

spec('exactly one line of the log reports', (it) => {
  it('a login, a refusal with its reason, and the end of a link', async () => {
    await using rig = await ServerRig.start({}, { authenticator })
    const alice = await rig.client({ token })
    const mallory = await rig.dial()
    mallory.hello({ user: 'mallory', token: `${secret}_guess` })
    await mallory.refused('HelloNack', 'unauthorized')
    await alice.vanish()
    const text = 'the token is not the one of this user'
    assert.deepEqual(lines(rig.log, 'link-open', 'link-refused'), [
      { event: 'link-open', user: 'alice', node: alice.node },
      { event: 'link-refused', user: 'mallory', node: alice.node + 1, code: 'unauthorized', text },
    ])
    const [left, ...more] = rig.log.filter(({ event }) => event === 'link-closed')
    assert.deepEqual([left?.user, left?.node, more], ['alice', alice.node, []])
    sound(rig.log)
  })

  it('each stored file, also one that replaces another', async () => {
    await using rig = await ServerRig.start({}, { authenticator })
    const client = await rig.client({ token })
    const { node } = client
    for (const modifiedAt of [1, 2]) await client.upload({ name: 'a', bytes, modifiedAt })
    // It is stored already: nothing happens.
    const { instance } = await client.continue({ name: 'a', bytes, modifiedAt: 2 })
    await client.end(instance, digest)
    const stored = { user: 'alice', node, name: 'a', size, algorithm: 'sha256', digest: digest.toString('hex') }
    assert.deepEqual(lines(rig.log, 'upload-stored'), [
      { event: 'upload-stored', ...stored },
      { event: 'upload-stored', ...stored, replaced: true },
    ])
    sound(rig.log)
  })

  it('the other name of a file that did not replace one', async () => {
    await using rig = await ServerRig.start({}, { authenticator, onConflict: 'rename' })
    const client = await rig.client({ token })
    for (const modifiedAt of [1, 2]) await client.upload({ name: 'a', bytes, modifiedAt })
    const stored = rig.log.filter(({ event }) => event === 'upload-stored')
    assert.deepEqual(
      stored.map(({ name, storedName, replaced }) => [name, storedName, replaced]),
      [
        ['a', undefined, undefined],
        ['a', 'a (1)', undefined],
      ],
    )
  })

  it('a file that was found verified at the start, once', async () => {
    await using rig = await ServerRig.start({}, { authenticator })
    const client = await rig.client({ token })
    const instance = await begin(client, 'a')
    await client.chunk(instance, 10, bytes.subarray(10))
    rig.storage.fail('publish', new Error('the disk is gone'))
    await client.endRefused(instance, digest, 'internal')
    await rig.crash()
    await rig.restart()
    const file = { name: 'a', size, algorithm: 'sha256', digest: digest.toString('hex') }
    assert.deepEqual(lines(rig.log, 'upload-stored'), [{ event: 'upload-stored', user: 'alice', ...file }])
    sound(rig.log)
  })

  it('a paused and a cancelled upload, but no cancellation without an upload', async () => {
    await using rig = await ServerRig.start({}, { authenticator })
    const client = await rig.client({ token })
    const { node } = client
    await client.pause(await begin(client, 'a'))
    await begin(client, 'b')
    for (const name of ['a', 'a', 'b', 'c']) await client.cancel(name)
    const of = { user: 'alice', node, progress: 10, size }
    assert.deepEqual(lines(rig.log, 'upload-paused', 'upload-cancelled'), [
      { event: 'upload-paused', ...of, name: 'a' },
      { event: 'upload-cancelled', ...of, name: 'a' },
      { event: 'upload-cancelled', ...of, name: 'b' },
    ])
    sound(rig.log)
  })

  it('an upload that was refused while it ran', async () => {
    await using rig = await ServerRig.start({}, { authenticator })
    const client = await rig.client({ token })
    const instance = await begin(client, 'a')
    rig.storage.fail('write', new OspError('disk-full'))
    await client.chunkRefused(instance, 10, bytes.subarray(10), 'disk-full')
    const [refused, ...more] = rig.log.filter(({ event }) => event === 'upload-refused')
    assert.deepEqual([refused?.name, refused?.node, refused?.code, more], ['a', client.node, 'disk-full', []])
    sound(rig.log)
  })

  it('a take-over, with the node that lost the upload', async () => {
    await using rig = await ServerRig.start({}, { authenticator })
    const first = await rig.client({ token, session: 'one' })
    const second = await rig.client({ token, session: 'two' })
    await begin(first, 'a')
    for (let times = 0; times < 2; times++) await second.continue({ name: 'a', bytes })
    assert.deepEqual(lines(rig.log, 'upload-taken-over'), [
      { event: 'upload-taken-over', user: 'alice', node: second.node, name: 'a', former: first.node },
    ])
    sound(rig.log)
  })

  it('a replaced registration, and a message that was set aside', async () => {
    await using rig = await heldRig()
    const first = await MessageClient.listen(rig, 'bob', { session: 'one' })
    const bob = await MessageClient.listen(rig, 'bob', { session: 'two' })
    const alice = await MessageClient.listen(rig, 'alice')
    await alice.post(1, ['bob'], `${secret} said alice`)
    const { mailboxSeq: seq, ...rest } = await bob.delivery()
    await bob.reject({ mailboxSeq: seq, ...rest }, 'it cannot be shown')
    await turn()
    const { node } = bob
    assert.deepEqual(lines(rig.log, 'registration-superseded', 'message-set-aside'), [
      { event: 'registration-superseded', user: 'bob', node, former: first.node },
      { event: 'message-set-aside', user: 'bob', node, seq, text: 'it cannot be shown' },
    ])
    sound(rig.log)
  })
})

spec('a field of the log', (it) => {
  it('is cut if a client makes it long', async () => {
    await using rig = await ServerRig.start()
    const raw = await rig.dial()
    raw.hello({ user: 'x'.repeat(3_000) })
    await raw.refused('HelloNack', 'bad-name')
    const [refused] = rig.log.filter(({ event }) => event === 'link-refused')
    assert.equal(refused?.user, `${'x'.repeat(fixed.logFieldCharacters)}…`)
    assert.ok(String(refused?.text).length < 200)
  })
})
