import assert from 'node:assert/strict'
import { OspError } from '../../../lib/errors.ts'
import { MiB } from '../../../lib/limits.ts'
import type { Authenticator } from '../../../lib/ports/authenticator.ts'
import { events } from '../../../lib/wire/protocol.ts'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'
import { until } from '../../support/until.ts'
import { UploadRig } from '../../support/uploadRig.ts'

const size = 6 * MiB + 123
const bytes = patterned(size)
const chunkBytes = 256 * 1024
const chunk = events.PostFileReq.number

/** Cuts the link in place of the n-th chunk, once. */
function cutAtChunk(rig: UploadRig, n: number, then: () => void = () => {}): void {
  let seen = 0
  rig.transport.inspect = ({ event }) => {
    if (event !== chunk || ++seen !== n) return true
    then()
    return false
  }
}

spec('an upload is continued', (it) => {
  it('after its link broke, from the progress of the server', async () => {
    await using rig = await UploadRig.start({ chunkBytes })
    cutAtChunk(rig, 10)
    const upload = await rig.client().upload(memorySource('a', bytes))
    await upload.done
    assert.deepEqual(rig.stored('alice', 'a'), bytes)
    assert.equal(rig.transport.dialled, 2)
    assert.ok(rig.transport.contentBytes <= size + 10 * chunkBytes, `${rig.transport.contentBytes} bytes were sent`)
  })

  it('after its link broke repeatedly', async () => {
    await using rig = await UploadRig.start({ chunkBytes })
    let chunks = 0
    rig.transport.inspect = ({ event }) => event !== chunk || ++chunks % 7 !== 0
    await (await rig.client().upload(memorySource('a', bytes))).done
    assert.deepEqual(rig.stored('alice', 'a'), bytes)
  })

  it('after the client was killed, by another client', async () => {
    await using rig = await UploadRig.start({ chunkBytes })
    const killed = rig.client()
    const half = new Promise<void>((resolve) => cutAtChunk(rig, 14, resolve))
    const first = await killed.upload(memorySource('a', bytes))
    await half
    rig.transport.inspect = () => false
    void killed.close()
    await assert.rejects(first.done)
    rig.transport.inspect = () => true
    const before = rig.transport.contentBytes
    const again = await rig.client().upload(memorySource('a', bytes))
    await again.done
    assert.deepEqual(rig.stored('alice', 'a'), bytes)
    assert.ok(rig.transport.contentBytes - before < size, 'it began at zero')
    assert.equal(again.transferred, rig.transport.contentBytes - before)
  })

  it('after the server was restarted', async () => {
    await using rig = await UploadRig.start({ chunkBytes, checkpointBytes: chunkBytes })
    const half = new Promise<void>((resolve) => cutAtChunk(rig, 14, resolve))
    const upload = await rig.client().upload(memorySource('a', bytes))
    await half
    await rig.server.close()
    await rig.startServer()
    await upload.done
    assert.deepEqual(rig.stored('alice', 'a'), bytes)
    assert.ok(rig.transport.contentBytes < 2 * size - 2 * MiB)
  })

  it('to its end if only the reply to its last request was lost', async () => {
    await using rig = await UploadRig.start({ chunkBytes })
    rig.server.on('stored', () => rig.transport.cut())
    await (await rig.client().upload(memorySource('a', bytes))).done
    assert.equal(rig.transport.contentBytes, size)
    assert.equal(rig.transport.dialled, 2)
  })

  it('after it waited for an idle instance', async () => {
    await using rig = await UploadRig.start({ fileInstances: 1 })
    const sources = [1, 2, 3, 4].map((n) => memorySource(`${n}`, patterned(2 * MiB, n)))
    const all = await Promise.all(sources.map((source) => rig.client().upload(source)))
    await Promise.all(all.map(({ done: finished }) => finished))
  })
})

spec('an upload begins at zero again', (it) => {
  it('if the server has other bytes of the same size and time', async () => {
    await using rig = await UploadRig.start({ chunkBytes, checkpointBytes: chunkBytes })
    const killed = rig.client()
    const half = new Promise<void>((resolve) => cutAtChunk(rig, 14, resolve))
    await killed.upload(memorySource('a', bytes))
    await half
    rig.transport.inspect = () => false
    await killed.close()
    rig.transport.inspect = () => true
    const edited = bytes.slice()
    edited[5] = (edited[5] ?? 0) ^ 1
    await (await rig.client().upload(memorySource('a', edited))).done
    assert.deepEqual(rig.stored('alice', 'a'), edited)
  })

  it('if its source has changed meanwhile', async () => {
    await using rig = await UploadRig.start({ chunkBytes })
    const source = memorySource('a', bytes)
    const other = patterned(2 * MiB, 7)
    source.beforeRead = (offset) => {
      if (offset < 3 * MiB || source.bytes === other) return
      source.bytes = other
      source.modifiedAt++
    }
    await (await rig.client().upload(source)).done
    assert.deepEqual(rig.stored('alice', 'a'), other)
    assert.equal(source.opened, 2)
    assert.equal(source.notClosed, 0)
  })

  it('a limited number of times if its source keeps changing; then it fails, and its instance is free', async () => {
    await using rig = await UploadRig.start({ chunkBytes })
    const source = memorySource('a', patterned(1000))
    source.beforeRead = () => {
      source.modifiedAt++
    }
    const client = rig.client()
    const upload = await client.upload(source)
    await assert.rejects(
      upload.done,
      /^OspError: a was written to while it was being sent; send it again when nothing is writing to it/,
    )
    assert.equal(source.opened, 4)
    assert.equal(source.notClosed, 0)
    assert.deepEqual(rig.server.status().uploads, [])
    assert.equal(rig.stored('alice', 'a'), undefined)
  })

  it('if bytes were damaged in transit, a limited number of times', async () => {
    await using rig = await UploadRig.start({ chunkBytes })
    let damages = 2
    const source = memorySource('a', bytes)
    rig.transport.inspect = (frame) => {
      const content = frame.payload.at(-1)
      if (frame.event === chunk && damages > 0 && content) {
        damages--
        content[0] = (content[0] ?? 0) ^ 0xff
      }
      return true
    }
    await (await rig.client().upload(source)).done
    assert.deepEqual(rig.stored('alice', 'a'), bytes)
    damages = Number.POSITIVE_INFINITY
    const hopeless = await rig.client().upload(memorySource('b', bytes))
    await assert.rejects(hopeless.done, /digest/)
    assert.equal(rig.stored('alice', 'b'), undefined)
  })
})

spec('a client', (it) => {
  it('waits for an unreachable server, reports it, and continues automatically', async () => {
    await using rig = await UploadRig.start()
    await rig.server.close()
    const client = rig.client()
    const upload = await client.upload(memorySource('a', bytes))
    await until(client, 'status', () => client.status === 'waiting')
    await rig.startServer()
    await upload.done
  })

  it('gives up after `retryForMs`', async () => {
    await using rig = await UploadRig.start()
    await rig.server.close()
    const client = rig.client({ retryForMs: 0 })
    const upload = await client.upload(memorySource('a', bytes))
    await assert.rejects(upload.done, { code: 'unreachable' })
    assert.equal(client.status, 'refused')
    await assert.rejects(client.online(), { code: 'unreachable' })
  })

  it('with a final refusal of the server does not connect again', async () => {
    const authenticator: Authenticator = {
      async authenticate({ user }) {
        throw new OspError('unauthorized', `${user} may not come in`)
      },
      knows: async () => true,
    }
    await using rig = await UploadRig.start({}, { authenticator })
    const client = rig.client()
    await assert.rejects(client.online(), /alice may not come in/)
    assert.equal(client.status, 'refused')
    assert.equal(rig.transport.dialled, 1)
  })

  it('that is closed keeps its uploads for later, and rejects its promises', async () => {
    await using rig = await UploadRig.start({ chunkBytes })
    const client = rig.client()
    const half = new Promise<void>((resolve) => {
      let seen = 0
      rig.transport.inspect = ({ event }) => {
        if (event === chunk && ++seen === 10) resolve()
        return true
      }
    })
    const upload = await client.upload(memorySource('a', bytes))
    await half
    await client.close()
    await assert.rejects(upload.done, { code: 'closed' })
    await assert.rejects(client.upload(memorySource('b', bytes)), { code: 'closed' })
    await client.close()
    const before = rig.transport.contentBytes
    await (await rig.client().upload(memorySource('a', bytes))).done
    assert.ok(rig.transport.contentBytes - before < size)
  })
})
