import assert from 'node:assert/strict'
import { type Deferred, deferred } from '../../../lib/runtime/deferred.ts'
import { FileReaders } from '../../../lib/server/files/fileReaders.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

spec('the readers of stored files', (it) => {
  it('close a replaced file once, after the reads in progress', async () => {
    const reads: Deferred<number>[] = []
    let closed = 0
    const file = {
      size: 100,
      version: 'v',
      read: () => {
        const read = deferred<number>()
        reads.push(read)
        return read.promise
      },
      [Symbol.asyncDispose]: async () => void closed++,
    }
    const context = { platform: { clock: new VirtualClock() }, limits: { uploadsPerLink: 5, uploadsPerUser: 5 } }
    const uploads = { assignReader: () => ({}), releaseReader: () => {} }
    const readers = new FileReaders(context as never, { open: async () => file } as never, uploads as never)
    const read = async (offset: number) => {
      const by = link as never
      return readers.read(by, { owner: 'alice', name: 'a', version: 'v' }, new Uint8Array(10), offset)
    }
    const link = { user: 'alice', open: true }
    const reading = [read(0)]
    await turn()
    reading.push(read(10))
    await turn()
    readers.forget('alice', 'a')
    reads[0]?.resolve(10)
    await reading[0]
    await turn()
    assert.equal(closed, 0)
    reads[1]?.resolve(10)
    await reading[1]
    assert.equal(closed, 1)
  })
})
