import assert from 'node:assert/strict'
import { stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { connect, serve } from '../../../lib/index.ts'
import { memory, memoryTransport } from '../../../lib/memory.ts'
import { file, stateDirectory } from '../../../lib/node.ts'
import type { FileSource } from '../../../lib/ports/source.ts'
import { place } from '../../support/commands.ts'
import { patterned } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'

/** Too large for one request. */
const content = patterned(3_000_000)

/** Returns a file as a source, and the number of bytes that were read from it. */
function counted(path: string) {
  const read = { bytes: 0 }
  const { name, ref, open } = file(path)
  const source: FileSource = {
    name,
    ...(ref !== undefined && { ref }),
    async open(signal) {
      const opened = await open.call(file(path), signal)
      return {
        ...opened,
        async read(into, offset) {
          const bytes = await opened.read(into, offset)
          read.bytes += bytes
          return bytes
        },
      }
    },
  }
  return { source, read }
}

/** Starts a server in memory and a directory with a file. `send` uploads the file as a program of its own. */
async function rig() {
  const [transport, storage, at] = [memoryTransport(), memory(), await place()]
  await at.write('movie.mp4', content)
  const server = await serve({ listen: transport, storage })
  const path = join(at.path, 'movie.mp4')
  const state = join(at.path, 'state')
  return {
    ...{ at, path, storage },
    async send(metadata?: Readonly<Record<string, string>>) {
      await using client = await connect(transport, { user: 'alice', state: stateDirectory(state) })
      const { source, read } = counted(path)
      const upload = await client.upload(source, metadata ? { metadata } : {})
      const { digest } = await upload.done
      const { metadata: kept } = await client.files.stat('movie.mp4')
      return { digest, metadata: kept, read: read.bytes }
    },
    async [Symbol.asyncDispose]() {
      await server.close()
      await at[Symbol.asyncDispose]()
    },
  }
}

spec('a file that a program sends again', (it) => {
  it('is not read if its digest is remembered and the server has it', async () => {
    await using its = await rig()
    const first = await its.send()
    assert.ok(first.read >= content.length)
    const second = await its.send({ key: 'value' })
    assert.deepEqual([second.read, second.digest, second.metadata], [0, first.digest, { key: 'value' }])
  })

  it('is sent if the server no longer has it', async () => {
    await using its = await rig()
    await its.send()
    its.storage.remove('alice', 'movie.mp4')
    assert.ok((await its.send()).read >= content.length)
    assert.deepEqual(its.storage.read('alice', 'movie.mp4'), content)
  })

  it('is read if it was changed but has the same size and time as before', async () => {
    await using its = await rig()
    const { digest } = await its.send()
    const { atime, mtime } = await stat(its.path)
    const changed = Uint8Array.from(content, (byte) => byte ^ 1)
    await its.at.write('movie.mp4', changed)
    await utimes(its.path, atime, mtime)
    const second = await its.send()
    assert.notEqual(second.digest, digest)
    assert.deepEqual(its.storage.read('alice', 'movie.mp4'), changed)
  })
})
