import assert from 'node:assert/strict'
import { type Deferred, deferred } from '../../../lib/runtime/deferred.ts'
import { FileReaders } from '../../../lib/server/files/fileReaders.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

/** Readers of one file. Each read ends when the spec resolves it, as does closing the file with `closing`. */
function readersOf(closing: Promise<void> = Promise.resolve()) {
  const reads: Deferred<number>[] = []
  const rig = { reads, closed: 0 }
  const file = {
    size: 100,
    version: 'v',
    read: () => {
      const read = deferred<number>()
      reads.push(read)
      return read.promise
    },
    [Symbol.asyncDispose]: async () => {
      await closing
      rig.closed++
    },
  }
  const context = { platform: { clock: new VirtualClock() }, limits: { uploadsPerLink: 5, uploadsPerUser: 5 } }
  const uploads = { assignReader: () => ({}), releaseReader: () => {} }
  const readers = new FileReaders(context as never, { open: async () => file } as never, uploads as never)
  const link = { user: 'alice', open: true } as never
  const read = (offset: number) =>
    readers.read(link, { owner: 'alice', name: 'a', version: 'v' }, new Uint8Array(10), offset)
  return Object.assign(rig, { readers, read })
}

spec('the readers of stored files', (it) => {
  it('close a replaced file once, after the reads in progress', async () => {
    const rig = readersOf()
    const { readers, read, reads } = rig
    const reading = [read(0)]
    await turn()
    reading.push(read(10))
    await turn()
    readers.forget('alice', 'a')
    reads[0]?.resolve(10)
    await reading[0]
    await turn()
    assert.equal(rig.closed, 0)
    reads[1]?.resolve(10)
    await reading[1]
    assert.equal(rig.closed, 1)
  })

  it('are closed after all their files', async () => {
    const closing = deferred<void>()
    const rig = readersOf(closing.promise)
    const reading = rig.read(0)
    await turn()
    rig.reads[0]?.resolve(10)
    await reading
    let hasClosed = false
    const closed = rig.readers.close().then(() => {
      hasClosed = true
    })
    await turn()
    assert.equal(hasClosed, false)
    closing.resolve()
    await closed
    assert.equal(rig.closed, 1)
  })
})
