import assert from 'node:assert/strict'
import { statfs } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { Client } from '../../lib/client/client.ts'
import { codeOf, OspError } from '../../lib/errors.ts'
import { KiB, MiB } from '../../lib/limits.ts'
import { hex } from '../../lib/runtime/hex.ts'
import type { Server } from '../../lib/server/server.ts'
import { ballast } from '../support/ballast.ts'
import { failingFlushes } from '../support/failingFlushes.ts'
import { idOf, posting } from '../support/messageClient.ts'
import { segmentIn } from '../support/messageSurvival.ts'
import { MortalServer } from '../support/mortalServer.ts'
import { RawClient } from '../support/rawClient.ts'
import { allTaken, mailboxesIn, Recipient } from '../support/recipients.ts'
import { spec } from '../support/spec.ts'
import { canInject, injecting } from '../support/strace.ts'
import { turns } from '../support/turns.ts'
import { canMount, smallDisk } from '../testing/storage/places.ts'

const padding = ' '.repeat(60 * KiB)
/** Messages leave a quarter of it. */
const limits = { reserveBytes: 4 * MiB, reservePercent: 100 }
const textsOf = ({ texts }: Recipient) => texts.map((text) => text.trimEnd())

/** Sends numbered messages until one is refused; resolves with the texts of the accepted ones. */
async function fill(alice: Client, recipients: readonly string[]): Promise<string[]> {
  const acknowledged: string[] = []
  try {
    for (;;) {
      const text = `${acknowledged.length}`
      await alice.send(recipients, text + padding)
      acknowledged.push(text)
    }
  } catch (error) {
    assert.equal(OspError.from(error).code, 'disk-full')
    return acknowledged
  }
}

/** Sends until there is space. */
async function insist(alice: Client, recipients: readonly string[], text: string) {
  for (;;) {
    const refusal = await alice.send(recipients, text).then(
      () => undefined,
      (error) => OspError.from(error).code,
    )
    if (refusal === undefined) return
    assert.equal(refusal, 'disk-full')
  }
}

spec('a disk that is full of messages', (it) => {
  if (!canMount) return it.skip('loses no message', 'this process may not mount a small disk')

  it('refuses messages until waiting ones are received; no acknowledged message is lost', async () => {
    await using place = await MortalServer.in(await smallDisk(8_000_000))
    const storage = disk(place.data, { segmentBytes: 256 * KiB })
    await place.serve({ storage, limits })
    const alice = place.client()
    const statuses: string[] = []
    await alice.send(['bob'], 'first')
    alice.on('status', (status) => statuses.push(status))
    const acknowledged = await fill(alice, ['bob', 'carol'])
    assert.ok(acknowledged.length > 50, `only ${acknowledged.length} messages were accepted`)
    await assert.rejects(alice.send(['bob'], padding), { code: 'disk-full' })
    const { bavail, bsize } = await statfs(place.data)
    assert.ok(
      bavail * bsize > limits.reserveBytes / 4 - 256 * KiB,
      `${bavail * bsize} bytes are left for removing messages`,
    )

    const bob = new Recipient(place.client({ user: 'bob' }))
    const carol = new Recipient(place.client({ user: 'carol' }))
    await allTaken(storage)
    assert.deepEqual(textsOf(bob), ['first', ...acknowledged])
    assert.deepEqual(textsOf(carol), acknowledged)
    await insist(alice, ['bob', 'carol'], 'last')
    await bob.got('last')
    await carol.got('last')
    assert.deepEqual(statuses, [], 'the link was lost')
  })

  it('to the last byte delivers and removes them, also after a restart, and accepts new ones when there is space', async () => {
    const directory = await smallDisk(8_000_000)
    await using place = await MortalServer.in(directory)
    const first = await place.serve({ limits })
    const alice = place.client()
    const texts = Array.from({ length: 20 }, (_, at) => `${at}`)
    for (const text of texts) await alice.send(['bob', 'carol'], text + padding)
    const full = ballast(directory.path)
    await assert.rejects(alice.send(['bob'], padding), { code: 'disk-full' })
    const bob = new Recipient(place.client({ user: 'bob' }))
    const statuses: string[] = []
    bob.client.on('status', (status) => statuses.push(status))
    await bob.got(`19${padding}`)
    const waiting = async (server: Server) => (await server.mailboxes()).map(({ user }) => user)
    while ((await waiting(first)).includes('bob')) await pause(5)
    assert.deepEqual(
      statuses.filter((status) => status !== 'online'),
      [],
      'the link was lost',
    )
    await first.close()
    const second = await place.serve({ limits })
    assert.deepEqual(await waiting(second), ['carol'])
    const carol = new Recipient(place.client({ user: 'carol' }))
    await carol.got(`19${padding}`)
    while ((await waiting(second)).length > 0) await pause(5)
    full.throwOff()
    await insist(alice, ['bob'], 'last')
    await bob.got('last')
    assert.deepEqual(textsOf(bob), [...texts, 'last'])
    assert.deepEqual(textsOf(carol), texts)
  })
})

/** Posts message 1 to bob and carol in raw frames; resolves with the code of the GOODBYE, which is the only answer. */
async function dismissedAsItPosts(port: number): Promise<string> {
  const raw = await RawClient.dial(tcp({ port }))
  raw.hello({ user: 'alice' })
  await raw.expect('HelloAck')
  raw.send('RegistReq', { userName: 'alice', flags: 0 })
  const { instance } = await raw.expect('RegistAck')
  await raw.expect('RegistListNtf')
  raw.send('PostMsgReq', posting(idOf(1), ['bob', 'carol'], '1'), instance)
  const { code } = await raw.expect('GoodbyeNtf')
  await raw.closed
  return codeOf(code)
}

/** A server on a disk whose message journal fails. */
interface Failing extends Disposable {
  readonly port: number
  end(): Promise<void>
}
type Fault = (place: MortalServer) => Promise<Failing>

/**
 * These writes of the daemon fail, and write nothing. The first two writes are the header of the file and the time at
 * its start.
 */
const writing =
  (when: string): Fault =>
  async (place) => {
    const paths = [segmentIn(place.data), segmentIn(place.data, 2)]
    const server = await place.daemon([], injecting({ calls: 'pwrite64', fault: 'error=EIO', when, paths }))
    const [, port] = await server.printed(/ready on 127\.0\.0\.1:(\d+)/u)
    return { port: Number(port), end: () => server.kill('SIGTERM'), [Symbol.dispose]: () => {} }
  }

/** These flushes after the start fail, in a server in this process: their data is written. */
const flushing =
  (fails: (nth: number) => boolean): Fault =>
  async (place) => {
    const server = await place.serve()
    const faults = await failingFlushes(place.data, fails)
    const end = async () => {
      await server.close()
      faults[Symbol.dispose]()
    }
    return { port: server.addresses[0]?.port ?? 0, end, [Symbol.dispose]: () => faults[Symbol.dispose]() }
  }

async function assertOneCopy(recipients: readonly Recipient[], alice: Client) {
  await alice.send(['bob', 'carol'], 'last')
  for (const recipient of recipients) {
    await recipient.got('last')
    assert.deepEqual(recipient.texts, ['1', 'last'])
  }
}

const passing = (fault: Fault) => async (): Promise<void> => {
  await using place = await MortalServer.in()
  using server = await fault(place)
  assert.equal(await dismissedAsItPosts(server.port), 'internal')
  const alice = place.client()
  await alice.send(['bob', 'carol'], '1', { id: hex(idOf(1)) })
  const recipients = ['bob', 'carol'].map((user) => new Recipient(place.client({ user })))
  await assertOneCopy(recipients, alice)
}

const lasting = (fault: Fault) => async (): Promise<void> => {
  await using place = await MortalServer.in()
  using server = await fault(place)
  assert.equal(await dismissedAsItPosts(server.port), 'internal')
  const alice = place.client({ platform: nodePlatform() })
  let setbacks = 0
  let isAcknowledged = false
  alice.on('status', (status, why) => {
    if (status === 'waiting' && why?.code === 'internal') setbacks++
  })
  const sending = alice.send(['bob', 'carol'], '1', { id: hex(idOf(1)) }).then(() => {
    isAcknowledged = true
  })
  await turns(() => setbacks === 3)
  assert.ok(!isAcknowledged)
  await server.end()
  const boxes = await mailboxesIn(place.data, ['bob', 'carol'])
  assert.deepEqual(boxes.get('bob'), boxes.get('carol'))
  const storage = disk(place.data)
  await place.serve({ storage })
  await sending
  const recipients = ['bob', 'carol'].map((user) => new Recipient(place.client({ user })))
  await assertOneCopy(recipients, alice)
  await allTaken(storage)
}

const removing = (fault: Fault) => async (): Promise<void> => {
  await using place = await MortalServer.in()
  using server = await fault(place)
  const alice = place.client()
  const bob = new Recipient(place.client({ user: 'bob' }))
  let setbacks = 0
  bob.client.on('status', (status, why) => {
    if (status === 'waiting' && why?.code === 'internal') setbacks++
  })
  await alice.send(['bob'], '1')
  await turns(() => setbacks === 1)
  await alice.send(['bob'], 'last')
  await bob.got('last')
  assert.deepEqual(bob.texts, ['1', 'last'])
  await server.end()
  const left = (await mailboxesIn(place.data, ['bob'])).get('bob')?.map(({ text }) => text)
  assert.ok(left?.length === 0 || left?.join() === 'last', `${left} are left`)
}

const passes = 'it is not acknowledged; sent again, it arrives once'
const lasts = 'nothing is acknowledged until a restart, which resolves the outcome for all recipients'
const isRemoved = 'it is sent again, and not passed to the application again'

spec('a flush that fails while messages are stored', (it) => {
  it(`once, as one is flushed: ${passes}`, passing(flushing((nth) => nth === 1)))
  it(`permanently: ${lasts}`, lasting(flushing(() => true)))
  it(`once, as one is removed: ${isRemoved}`, removing(flushing((nth) => nth === 2)))
})

spec('a system call that fails while messages are stored', (it) => {
  if (!canInject) return it.skip('loses no message', 'strace is missing, or may not trace here')

  it(`once, as one is written: ${passes}`, passing(writing('3')))
  it(`permanently: ${lasts}`, lasting(writing('3+')))
  it(`once, as one is removed: ${isRemoved}`, removing(writing('4')))
})
