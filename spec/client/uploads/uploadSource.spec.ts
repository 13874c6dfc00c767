import assert from 'node:assert/strict'
import { createReadStream, existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import type { UploadSource } from '../../../lib/client/uploads/uploadSource.ts'
import { connect, createClient, serve } from '../../../lib/index.ts'
import { clientLimits } from '../../../lib/limits.ts'
import { memory, memoryTransport } from '../../../lib/memory.ts'
import { stateDirectory } from '../../../lib/node.ts'
import { place } from '../../support/commands.ts'
import { patterned } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'
import { until } from '../../support/until.ts'

/** Large enough for several chunks. */
const content = patterned(3_000_000)

/** A server in memory with a client. */
async function rig(options: Partial<Parameters<typeof connect>[1]> = {}) {
  const [transport, storage, at] = [memoryTransport(), memory(), await place()]
  await at.write('movie.mp4', content)
  const server = await serve({ listen: transport, storage })
  const client = await connect(transport, { user: 'alice', ...options })
  return {
    client,
    storage,
    transport,
    path: join(at.path, 'movie.mp4'),
    state: join(at.path, 'state'),
    async [Symbol.asyncDispose]() {
      await client.close()
      await server.close()
      await at[Symbol.asyncDispose]()
    },
  }
}

const spooled = async (state: string) => await readdir(join(state, 'spool')).catch(() => [])

/** A stream that yields one part and then waits. */
const hanging = () =>
  new Readable({
    read() {
      if (this.readableDidRead) return
      this.push(new Uint8Array(10))
    },
  })

spec('client.upload', (it) => {
  const named: readonly (readonly [what: string, make: (path: string) => UploadSource])[] = [
    ['a path', (path) => path],
    ['a URL of a file', (path) => pathToFileURL(path)],
    ['a File', () => new File([content], 'movie.mp4', { lastModified: 5 })],
  ]
  for (const [what, make] of named) {
    it(`takes ${what}, which has a name`, async () => {
      await using its = await rig()
      const upload = await its.client.upload(make(its.path))
      assert.equal(upload.name, 'movie.mp4')
      await upload.done
      assert.deepEqual(its.storage.read('alice', 'movie.mp4'), content)
      const other = await its.client.upload(make(its.path), { name: 'other.mp4' })
      assert.equal((await other.done).storedName, 'other.mp4')
    })
  }

  const words = new Uint16Array(content.buffer, content.byteOffset, content.length / 2)
  const unnamed: readonly (readonly [what: string, make: (path: string) => UploadSource])[] = [
    ['a Blob', () => new Blob([content])],
    ['a Uint8Array', () => content],
    ['a typed array of other elements', () => words],
    ['a DataView', () => new DataView(content.buffer, content.byteOffset, content.length)],
    ['an ArrayBuffer', () => content.slice().buffer],
    ['a Readable', (path) => createReadStream(path)],
    ['a generator of bytes', () => chunks(content)],
    ['a web stream', () => new Blob([content]).stream()],
    ['a web stream that is not iterable', () => withoutIterator(new Blob([content]).stream())],
  ]
  for (const [what, make] of unnamed) {
    it(`takes ${what} with a name`, async () => {
      await using its = await rig()
      const upload = await its.client.upload(make(its.path), { name: 'data.bin' })
      assert.equal((await upload.done).size, content.length)
      assert.deepEqual(its.storage.read('alice', 'data.bin'), content)
    })
  }

  it('takes small and empty content', async () => {
    await using its = await rig()
    for (const bytes of [patterned(10), new Uint8Array()]) {
      for (const [name, source] of Object.entries({ bytes, blob: new Blob([bytes]), stream: chunks(bytes) })) {
        await (await its.client.upload(source, { name })).done
        assert.deepEqual(its.storage.read('alice', name), bytes, name)
      }
    }
  })

  it('rejects before it reads a stream if the name is not allowed', async () => {
    await using its = await rig()
    const stream = createReadStream(its.path)
    await assert.rejects(its.client.upload(stream, { name: '../x' }), { code: 'bad-name' })
    assert.equal(stream.bytesRead, 0)
    stream.destroy()
  })

  it('rejects with the error of a stream, and for parts that are not bytes', async () => {
    await using its = await rig()
    const broken = Readable.from(
      (async function* () {
        yield patterned(10)
        throw new Error('gone')
      })(),
    )
    await assert.rejects(its.client.upload(broken, { name: 'a' }), { code: 'source-unreadable', message: /gone/u })
    await assert.rejects(its.client.upload(createReadStream(its.path, 'latin1'), { name: 'a' }), {
      code: 'source-unreadable',
      message: /^the stream yields ".*" instead of bytes; remove its encoding$/su,
    })
    assert.deepEqual([...its.client.uploads], [])
  })

  it('keeps a stream in the state directory until it is stored', async () => {
    await using at = await place()
    const state = join(at.path, 'state')
    await using its = await rig({ state: stateDirectory(state), limitRate: 1_000_000 })
    const upload = await its.client.upload(chunks(content), { name: 'data.bin' })
    assert.equal((await spooled(state)).length, 1)
    assert.deepEqual(await readFile(upload.ref ?? ''), Buffer.from(content))
    // A program that ends now can continue it later.
    await its.client.close()
    await assert.rejects(upload.done, { code: 'closed' })
    assert.equal((await spooled(state)).length, 1)
    await using again = await connect(its.transport, { user: 'alice', state: stateDirectory(state) })
    const [restored] = await again.uploads.restore()
    await restored?.done
    while (existsSync(upload.ref ?? '')) await setTimeout(5)
    assert.deepEqual(its.storage.read('alice', 'data.bin'), content)
  })

  it('keeps no file of a stream that is refused, or whose upload is cancelled', async () => {
    await using at = await place()
    const state = join(at.path, 'state')
    await using its = await rig({ state: stateDirectory(state), limitRate: 100_000 })
    const upload = await its.client.upload(chunks(content), { name: 'a' })
    await assert.rejects(its.client.upload(chunks(content), { name: 'a' }), {
      code: 'usage',
      message: /same name|"a"/u,
    })
    assert.equal((await spooled(state)).length, 1)
    await upload.cancel()
    assert.deepEqual(await spooled(state), [])
  })

  it('closes a stream that cannot be copied', async () => {
    await using at = await place()
    await at.write('file', '')
    await using its = await rig({ state: stateDirectory(join(at.path, 'file')) })
    const stream = Readable.from([content])
    await assert.rejects(its.client.upload(stream, { name: 'a' }), { code: 'storage-unusable' })
    assert.ok(stream.destroyed)
  })

  it('removes the incomplete copy of a stream that a killed program has left', async () => {
    await using at = await place()
    // No process has this id.
    await at.write('spool/4194305.0123456789abcdef', 'half of a stream')
    await using its = await rig({ state: stateDirectory(at.path) })
    const uploads = await Promise.all(['a', 'b'].map((name) => its.client.upload(chunks(content), { name })))
    assert.equal((await spooled(at.path)).filter((name) => name.startsWith('4194305')).length, 0)
    await Promise.all(uploads.map(({ done }) => done))
    assert.deepEqual(its.storage.read('alice', 'b'), content)
  })

  it('rejects a stream that is too long for a temporary file', async () => {
    await using its = await rig()
    const part = new Uint8Array(64 * 1024 * 1024)
    async function* endless() {
      for (let bytes = 0; bytes <= clientLimits.unsizedBytes; bytes += part.length) yield part
    }
    await assert.rejects(its.client.upload(endless(), { name: 'a' }), {
      code: 'too-large',
      message:
        /^a has no known size and more than 1024 MiB of content; write it to a file, or give the client a state$/u,
    })
  })
})

spec('the signal of an upload', (it) => {
  it('rejects at once if it has aborted', async () => {
    await using its = await rig()
    const signal = AbortSignal.abort()
    for (const source of [its.path, content, createReadStream(its.path)])
      await assert.rejects(its.client.upload(source, { name: 'a', signal }), { code: 'closed', message: /aborted/u })
    assert.deepEqual([...its.client.uploads], [])
  })

  it('stops reading a stream, and cancels it', async () => {
    await using at = await place()
    await using its = await rig({ state: stateDirectory(at.path) })
    const stream = hanging()
    const aborting = new AbortController()
    const adding = its.client.upload(stream, { name: 'a', signal: aborting.signal })
    void setTimeout(50).then(() => aborting.abort())
    await assert.rejects(adding, { code: 'closed', message: 'the upload was aborted' })
    assert.deepEqual(await spooled(at.path), [])
    assert.equal(stream.destroyed, true)
  })

  it('cancels a web stream while a read is pending', async () => {
    await using its = await rig()
    let cancelled = false
    const stream = new ReadableStream<Uint8Array>({
      cancel() {
        cancelled = true
      },
    })
    const adding = its.client.upload(stream, { name: 'a', signal: AbortSignal.timeout(50) })
    await assert.rejects(adding, { code: 'closed' })
    assert.ok(cancelled)
  })

  it('stops reading a stream when the client is closed', async () => {
    await using its = await rig()
    const adding = its.client.upload(hanging(), { name: 'a' })
    void setTimeout(50).then(() => its.client.close())
    await assert.rejects(adding, { code: 'closed' })
  })

  it('fails the upload with `closed`; the next upload of the file continues it', async () => {
    await using at = await place()
    await using its = await rig({ state: stateDirectory(at.path), limitRate: 2_000_000 })
    const aborting = new AbortController()
    const upload = await its.client.upload(its.path, { signal: aborting.signal })
    await until(upload, 'progress', () => upload.progress.durable > 0 || upload.progress.acknowledged > 500_000)
    aborting.abort()
    await assert.rejects(upload.done, { code: 'closed', message: 'the upload was aborted' })
    assert.equal(upload.phase, 'failed')
    const next = await its.client.upload(its.path)
    assert.equal(next.id, upload.id)
    await next.done
    assert.ok(next.transferred < content.length, `${next.transferred}`)
    assert.deepEqual(its.storage.read('alice', 'movie.mp4'), content)
  })

  it('ends a cancellation that waits for the server', async () => {
    const aborting = new AbortController()
    await using client = createClient('ospd://127.0.0.1:1', { user: 'alice', retryForMs: 5_000 })
    const upload = await client.upload(content, { name: 'a', signal: aborting.signal })
    const cancelled = upload.cancel()
    assert.equal(upload.phase, 'cancelling')
    aborting.abort()
    await assert.rejects(cancelled, { code: 'closed' })
    await assert.rejects(upload.done, { code: 'closed' })
  })

  it('has no listener after the end of the upload', async () => {
    await using its = await rig()
    const { signal } = new AbortController()
    let listeners = 0
    const { addEventListener, removeEventListener } = signal
    signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
      listeners++
      addEventListener.apply(signal, args)
    }
    signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
      listeners--
      removeEventListener.apply(signal, args)
    }
    await (await its.client.upload(its.path, { signal })).done
    await new Promise(setImmediate)
    assert.equal(listeners, 0)
  })
})

spec('an upload', (it) => {
  it('is paused, continued and cancelled by its own methods', async () => {
    await using its = await rig({ limitRate: 1_000_000 })
    const upload = await its.client.upload(its.path)
    const other = await its.client.upload(content, { name: 'other' })
    await upload.pause()
    assert.deepEqual([upload.phase, other.phase === 'paused'], ['paused', false])
    await upload.resume()
    assert.notEqual(upload.phase, 'paused')
    await upload.cancel()
    assert.equal(upload.phase, 'cancelled')
    await assert.rejects(upload.done, { code: 'cancelled' })
    await other.cancel()
  })

  it('ignores its methods after it has ended', async () => {
    await using its = await rig()
    const upload = await its.client.upload(patterned(10), { name: 'a' })
    await upload.done
    await Promise.all([upload.pause(), upload.resume(), upload.cancel()])
    assert.equal(upload.phase, 'done')
  })
})

async function* chunks(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1_000_000) yield bytes.subarray(at, at + 1_000_000)
}

/** The streams of some browsers have no iterator. */
function withoutIterator(stream: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  return { getReader: () => stream.getReader() } as ReadableStream<Uint8Array>
}
