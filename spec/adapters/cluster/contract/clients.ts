import assert from 'node:assert/strict'
import { loopbackOnly } from '../../../../lib/adapters/auth/unverified.ts'
import type { Steps } from '../../../../lib/adapters/cluster/steps.ts'
import { nodePlatform } from '../../../../lib/adapters/node/nodePlatform.ts'
import { memoryTransport } from '../../../../lib/memory.ts'
import type { NotifyRule } from '../../../../lib/server/files/fileNotices.ts'
import { startServer } from '../../../../lib/server/server.ts'
import type { Checks } from '../../../../lib/testing/testCases.ts'
import { decodeBody } from '../../../../lib/wire/messageBody.ts'
import { cancelOutcomes, renameFlags, statFlags } from '../../../../lib/wire/protocol.ts'
import { concatenated } from '../../../support/bytes.ts'
import { FileClient, sha256 } from '../../../support/fileClient.ts'
import { patterned } from '../../../support/memorySource.ts'
import { idOf, MessageClient } from '../../../support/messageClient.ts'
import { type Greeting, RawClient } from '../../../support/rawClient.ts'
import { SharedDirectory } from '../sharedDirectory.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }
const piece = (from: number, to: number) => bytes.subarray(from, to)

const textOf = ({ content }: { readonly content: Uint8Array }) => new TextDecoder().decode(content)

/** A shared store that is empty at first. */
export interface ClientsFixture extends AsyncDisposable {
  /** Returns the steps of a further server, which are not open yet. */
  readonly steps: () => Steps
}

/** Servers of one cluster, with clients. */
class Servers implements AsyncDisposable {
  readonly platform = nodePlatform()
  readonly directory: SharedDirectory
  readonly #steps: () => Steps
  readonly #closing: (() => Promise<unknown>)[] = []

  private constructor(directory: SharedDirectory, steps: () => Steps) {
    this.directory = directory
    this.#steps = steps
  }

  static async create(steps: () => Steps): Promise<Servers> {
    return new Servers(await SharedDirectory.create(), steps)
  }

  /** Starts a server. */
  async start(notify: readonly NotifyRule[] = []) {
    const transport = memoryTransport()
    const storage = this.directory.storage(this.#steps())
    const { platform } = this
    const base = { authenticator: loopbackOnly(), listen: transport, log: () => {}, platform, notify }
    const server = await startServer({ ...base, storage, links: storage.links })
    this.#closing.push(() => server.close())
    const dial = () => RawClient.dial(transport, platform)
    const client = async (greeting: Greeting = {}) => {
      const raw = await dial()
      raw.hello(greeting)
      return new FileClient(raw, (await raw.expect('HelloAck')).node)
    }
    return { dial, client, server, close: () => server.close() }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const close of this.#closing) await close()
    await this.directory[Symbol.asyncDispose]()
  }
}

/** The promises about clients of two servers of a cluster. */
export const clientChecks: Checks<ClientsFixture> = {
  'are informed of a file that is stored at the other server, and can read it': async ({ steps }) => {
    await using servers = await Servers.create(steps)
    const notify = [{ user: 'ingest' }]
    const [first, second] = [await servers.start(notify), await servers.start(notify)]
    const [bob, ingest] = [await MessageClient.listen(second, 'bob'), await MessageClient.listen(second, 'ingest')]
    const alice = await first.client()
    const { instance } = await alice.start(file)
    await alice.chunk(instance, 0, bytes)
    await alice.end(instance, sha256(bytes), { messageId: idOf(1), recipients: ['bob'] })
    await alice.put({ name: 'b', bytes })
    for (const [recipient, names] of [
      [bob, ['a']],
      [ingest, ['a', 'b']],
    ] as const) {
      const reader = await second.client({ user: recipient.user })
      for (const name of names) {
        const { sender, body } = await recipient.delivery()
        const { file: reference } = decodeBody(body).attributes
        assert.ok(reference)
        assert.deepEqual([sender, reference.fileName], ['alice', name])
        const { fileName, version, ...grant } = reference
        reader.raw.send('ReadFileReq', { fileName, version, offset: 0, length: 2_000, grant })
        assert.deepEqual(concatenated((await reader.raw.expect('ReadFileAck')).content), bytes)
      }
    }
  },

  'cannot reach the files and uploads of another user at the other server': async ({ steps }) => {
    await using servers = await Servers.create(steps)
    const [first, second] = [await servers.start(), await servers.start()]
    const alice = await first.client()
    await alice.upload(file)
    const { instance } = await alice.start({ name: 'unfinished', bytes })
    await alice.chunk(instance, 0, piece(0, 400))
    alice.raw.send('StatFileReq', { fileName: 'a', flags: 0 })
    const { version } = await alice.raw.expect('StatFileAck')
    await first.server.send('alice', ['alice'], 'hello')
    const eve = await second.client({ user: 'eve' })
    const { raw } = eve
    raw.send('ListFilesReq', { prefix: '', after: '', most: 0 })
    assert.deepEqual((await raw.expect('ListFilesAck')).files, [])
    raw.send('StatFileReq', { fileName: 'a', flags: statFlags.digest })
    await raw.refused('StatFileNack', 'no-such-file')
    const read = { fileName: 'a', version, offset: 0, length: 2_000 }
    raw.send('ReadFileReq', read)
    await raw.refused('ReadFileNack', 'no-such-file')
    const until = Number.MAX_SAFE_INTEGER
    for (const proof of [new Uint8Array(), new Uint8Array(32)]) {
      raw.send('ReadFileReq', { ...read, grant: { owner: 'alice', readers: ['eve'], until, proof } })
      await raw.refused('ReadFileNack', 'unauthorized')
    }
    raw.send('RenameFileReq', { fileName: 'a', newName: 'b', version, flags: renameFlags.replace })
    await raw.refused('RenameFileNack', 'no-such-file')
    raw.send('RemoveFileReq', { fileName: 'a', version })
    assert.equal((await raw.expect('RemoveFileAck')).removed, 0)
    for (const fileName of ['../alice/a', '/alice/a', 'x/../../alice/a', '../../files/alice/a', 'a\0']) {
      raw.send('StatFileReq', { fileName, flags: 0 })
      await raw.refused('StatFileNack', 'bad-name')
      raw.send('ReadFileReq', { ...read, fileName })
      await raw.refused('ReadFileNack', 'bad-name')
      raw.send('RemoveFileReq', { fileName, version: '' })
      await raw.refused('RemoveFileNack', 'bad-name')
      raw.send('RenameFileReq', { fileName, newName: 'b', version, flags: 0 })
      await raw.refused('RenameFileNack', 'bad-name')
    }
    assert.equal(await eve.cancel('unfinished'), cancelOutcomes.nothing)
    await eve.chunkRefused(instance, 400, piece(400, 1_000), 'instance-lost')
    const own = await eve.continue({ name: 'unfinished', bytes })
    assert.equal(own.progress, 0)
    for (const flags of [0, 1, 2]) {
      raw.send('ListMsgReq', { flags, afterSeq: 0, most: 0 })
      assert.deepEqual((await raw.expect('ListMsgAck')).messages, [])
    }
    raw.send('RemoveMsgReq', { mailboxSeqs: Array.from({ length: 10 }, (_, at) => at + 1) })
    await raw.expect('RemoveMsgAck')
    await alice.chunk(instance, 400, piece(400, 1_000))
    await alice.end(instance, sha256(bytes))
    for (const name of ['a', 'unfinished']) {
      assert.deepEqual(await servers.directory.read('alice', name), Uint8Array.from(bytes))
    }
    assert.equal(textOf(await (await MessageClient.listen(first, 'alice')).delivery()), 'hello')
  },
  'exchange messages, and are in the presence list of both servers': async ({ steps }) => {
    await using servers = await Servers.create(steps)
    const [first, second] = [await servers.start(), await servers.start()]
    const bob = await MessageClient.listen(second, 'bob')
    const alice = await MessageClient.listen(first, 'alice')
    const change = await bob.raw.expect('RegistListNtf')
    assert.deepEqual(
      change.members.map(({ userName }) => userName),
      ['alice'],
    )
    await alice.post(1, ['bob'], 'hello')
    const delivered = await bob.delivery()
    assert.deepEqual([delivered.sender, textOf(delivered), delivered.attempt], ['alice', 'hello', 1])
    await bob.take(delivered)
    await bob.post(1, ['alice'], 'hello, too')
    assert.equal(textOf(await alice.delivery()), 'hello, too')
  },
  'receive messages that the program of the other server sends': async ({ steps }) => {
    await using servers = await Servers.create(steps)
    const [first, second] = [await servers.start(), await servers.start()]
    const bob = await MessageClient.listen(second, 'bob')
    const carol = await MessageClient.listen(first, 'carol')
    await first.server.send('bot', ['bob', 'carol'], 'hello')
    for (const client of [bob, carol]) {
      const delivered = await client.delivery()
      assert.deepEqual([delivered.sender, textOf(delivered)], ['bot', 'hello'])
    }
  },
  'receive every message on each device of a user, at whichever server it listens': async ({ steps }) => {
    await using servers = await Servers.create(steps)
    const [first, second] = [await servers.start(), await servers.start()]
    const alice = await MessageClient.enter(first, 'alice')
    await alice.regist(0)
    const phone = await MessageClient.listenAs(first, 'bob', 'phone')
    const laptop = await MessageClient.listenAs(second, 'bob', 'laptop')
    await alice.post(1, ['bob'], 'hello')
    for (const device of [phone, laptop]) {
      const delivered = await device.delivery()
      assert.deepEqual([textOf(delivered), delivered.attempt], ['hello', 1])
      await device.take(delivered)
    }
    await alice.post(2, ['bob'], 'again')
    await phone.take(await phone.delivery())
    // The same device at the other server takes over. What it has just handled can be delivered again.
    const moved = await MessageClient.listenAs(second, 'bob', 'phone')
    await phone.dismissed('link-replaced')
    await alice.post(3, ['bob'], 'last')
    let delivered = await moved.delivery()
    while (delivered.attempt > 1) delivered = await moved.delivery()
    assert.equal(textOf(delivered), 'last')
    assert.equal(textOf(await laptop.delivery()), 'again')
    assert.equal(textOf(await laptop.delivery()), 'last')
  },
  'are superseded at one server when the same user listens at the other': async ({ steps }) => {
    await using servers = await Servers.create(steps)
    const [first, second] = [await servers.start(), await servers.start()]
    const former = await MessageClient.listen(first, 'bob')
    const alice = await MessageClient.enter(first, 'alice')
    await alice.regist(0)
    await alice.post(1, ['bob'], 'hello')
    await former.delivery()
    const next = await MessageClient.listen(second, 'bob', { session: 'another' })
    assert.equal((await next.delivery()).attempt, 2)
    await former.dismissed('superseded')
  },
  'continue an upload at the other server from the last checkpoint': async ({ steps }) => {
    await using servers = await Servers.create(steps)
    const [first, second] = [await servers.start(), await servers.start()]
    const before = await first.client({ attempt: 1 })
    const { instance } = await before.start(file)
    await before.chunk(instance, 0, piece(0, 400))
    await before.pause(instance)
    const after = await second.client({ attempt: 2 })
    await before.raw.dismissed('link-replaced')
    const next = await after.continue(file)
    assert.equal(next.progress, 400)
    await after.chunk(next.instance, 400, piece(400, 1_000))
    await after.end(next.instance, sha256(bytes))
    assert.deepEqual(await servers.directory.read('alice', 'a'), Uint8Array.from(bytes))
  },
  'learn that the other server has stored a file': async ({ steps }) => {
    await using servers = await Servers.create(steps)
    const [first, second] = [await servers.start(), await servers.start()]
    await (await first.client()).upload(file)
    const other = await second.client({ session: 'another' })
    const { progress } = await other.start(file)
    assert.equal(progress, 1_000)
  },
  'are served by one server after the other has stopped': async ({ steps }) => {
    await using servers = await Servers.create(steps)
    const [first, second] = [await servers.start(), await servers.start()]
    const bob = await MessageClient.listen(second, 'bob')
    const before = await first.client()
    const { instance } = await before.start(file)
    await before.chunk(instance, 0, piece(0, 400))
    await first.close()
    const alice = await MessageClient.enter(second, 'alice')
    await alice.regist(0)
    await alice.post(1, ['bob'], 'hello')
    assert.equal(textOf(await bob.delivery()), 'hello')
    const after = await second.client({ attempt: 2 })
    const next = await after.continue(file)
    assert.equal(next.progress, 400)
    await after.chunk(next.instance, 400, piece(400, 1_000))
    await after.end(next.instance, sha256(bytes))
    assert.deepEqual(await servers.directory.read('alice', 'a'), Uint8Array.from(bytes))
  },
}
