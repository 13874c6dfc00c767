import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { KiB, MiB } from '../../lib/limits.ts'
import type { WireMessage } from '../../lib/wire/message.ts'
import { patterned } from '../support/memorySource.ts'
import { bytesOf, RawStream } from '../support/rawStream.ts'
import { ServerRig } from '../support/serverRig.ts'
import { spec } from '../support/spec.ts'
import { survivesAttack } from '../support/survivesAttack.ts'
import { turn } from '../support/turn.ts'
import { turns } from '../support/turns.ts'
import type { Report } from '../support/watchedServer.ts'

const size = 256 * MiB

/** The sockets take hundreds of thousands of answers. A throttled flood would need many seconds for them. */
const unthrottled = { framesPerSecond: 1e9, workMsPerSecond: 1e6 }

/** Yields batches of `count` frames; `make` makes the frame for each seq. */
function* batches(count: number, make: (seq: number) => Buffer, first: number): Generator<Buffer> {
  for (let seq = first; ; seq += count) yield Buffer.concat(Array.from({ length: count }, (_, at) => make(seq + at)))
}

/** Sends until the server has ended the link, or until `bytes` were sent. */
async function flood(raw: RawStream, frames: Iterable<Buffer>, bytes = Number.POSITIVE_INFINITY): Promise<void> {
  let sent = 0
  for (const batch of frames) {
    if (raw.over || sent >= bytes) return
    await raw.write(batch)
    // The system accepts much data at once, which would delay reading the answers.
    await turn()
    sent += batch.length
  }
}

async function start(raw: RawStream, seq = 2): Promise<WireMessage<'StartPostFileAck'>> {
  await raw.write(bytesOf({ event: 'StartPostFileReq', fileName: 'a', size, modifiedAt: 1, digest: 2 }, seq))
  return raw.until('StartPostFileAck')
}

spec('a link that never reads', (it) => {
  for (const [what, make] of Object.entries({
    'the answers to its PING_REQs': () => (seq: number) => bytesOf({ event: 'PingReq' }, seq),
    'the answers to its chunks': (instance: number) => (seq: number) =>
      bytesOf({ event: 'PostFileReq', progress: 0, content: [] }, seq, instance),
  })) {
    it(`${what} is a slow consumer, and uses little memory until it is closed`, async () => {
      const attack = async (port: number, report: () => Promise<Report>) => {
        await using raw = await RawStream.letIn(port)
        const { instance } = await start(raw)
        raw.stream.pause()
        const closed = (async () => {
          while ((await report()).status.links > 1) await pause(250)
        })()
        await Promise.race([flood(raw, batches(2_000, make(instance), 3)), closed])
      }
      const codes = await survivesAttack(40 * MiB, attack, unthrottled)
      assert.deepEqual(codes, ['slow-consumer'])
    })
  }
})

spec('a link that sends too much', (it) => {
  it('in thousands of requests at once is ended as malformed, and gets the reason', async () => {
    const codes = await survivesAttack(40 * MiB, async (port) => {
      await using raw = await RawStream.letIn(port)
      const make = (seq: number) => bytesOf({ event: 'CancelFileReq', fileName: `${seq}` }, seq)
      await flood(raw, batches(20_000, make, 2))
      assert.match(await raw.dismissed('malformed'), /more than 512 requests are unanswered/u)
    })
    assert.deepEqual(codes, ['malformed'])
  })

  it('in chunks that fill its window continuously is read as fast as they are written', async () => {
    await survivesAttack(64 * MiB, async (port) => {
      await using raw = await RawStream.letIn(port)
      const { instance, chunk } = await start(raw)
      const content = [patterned(chunk)]
      const progressOf = (seq: number) => (seq - 3) * chunk
      const make = (seq: number) => bytesOf({ event: 'PostFileReq', progress: progressOf(seq), content }, seq, instance)
      await flood(raw, batches(1, make, 3), 64 * MiB)
      const written = (message: WireMessage) => message.event === 'PostFileAck' && message.progress >= 64 * MiB
      while (!raw.came.some(written)) await raw.amount(raw.came.length + 1)
    })
  })

  it('in long digests for a busy file is not read while they wait', async () => {
    await using rig = await ServerRig.start({ chunkMemoryBytes: 16 * MiB })
    const client = await rig.client()
    const { instance } = await client.start({ name: 'a', bytes: patterned(1_000) })
    const write = rig.storage.hold('write')
    client.sendChunk(instance, 0, patterned(10))
    await write.reached
    for (let count = 0; count < 8; count++) client.sendEnd(instance, new Uint8Array(900 * KiB))
    client.raw.send('PingReq', {})
    await turn()
    assert.deepEqual(client.raw.unread, [])
    write.go()
    await client.raw.expect('PostFileAck')
    while ((await client.raw.next()).event !== 'PingAck');
  })
})

spec('very many links', (it) => {
  it('that send nothing, or incomplete data, disturb no earlier client and leave nothing behind', async () => {
    const attack = async (port: number) => {
      const links = await Promise.all(Array.from({ length: 400 }, () => RawStream.connect(port)))
      for (const [at, raw] of links.entries()) if (at % 2) await raw.write(Uint8Array.of(0, 0, 0))
      const told = () => links.filter((raw) => raw.came.length > 0)
      await turns(() => told().length >= 100)
      for (const raw of told()) await raw.dismissed('rate-limited')
      for (const raw of links) await raw[Symbol.asyncDispose]()
    }
    await survivesAttack(40 * MiB, attack, { pendingLinks: 300, handshakeMs: 120_000 })
  })

  it('that begin an upload and vanish, one after another, keep no instance', async () => {
    const codes = await survivesAttack(40 * MiB, async (port) => {
      for (let count = 0; count < 50; count++) {
        await using raw = await RawStream.letIn(port, `${count}`)
        const { instance } = await start(raw)
        await raw.write(bytesOf({ event: 'PostFileReq', progress: 0, content: [patterned(100)] }, 3, instance))
        if (count % 2) raw.stream.resetAndDestroy()
      }
    })
    assert.equal(codes.length, 50)
  })
})
