import assert from 'node:assert/strict'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { KiB } from '../../../lib/limits.ts'
import { hostileServer } from '../../support/hostileServer.ts'
import { memorySource } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'

setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')

spec('a client', (it) => {
  it('keeps no memory of sent chunks', async () => {
    await using server = await hostileServer(({ message: { event }, reply, frame }) => {
      if (event !== 'ContinuePostFileReq') return true
      const bounds = { chunk: 8, window: 8 * KiB, checkpoint: 0, checkpointDigest: new Uint8Array() }
      reply({ event: 'ContinuePostFileAck', instance: frame.seq, progress: 0, ...bounds })
      return false
    })
    const client = server.client()
    const chunks = 20_000
    const source = memorySource('warm', new Uint8Array(chunks * 8))
    await (await client.upload(source)).done
    collect()
    const before = process.memoryUsage().heapUsed
    for (const name of ['a', 'b']) {
      await (await client.upload({ ...memorySource(name, source.bytes) })).done
    }
    collect()
    const perChunk = (process.memoryUsage().heapUsed - before) / (2 * chunks)
    assert.ok(perChunk < 60, `${Math.round(perChunk)} bytes a chunk stay`)
  })
})
