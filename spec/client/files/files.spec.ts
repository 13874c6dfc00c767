import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { localFiles } from '../../../lib/adapters/node/localFiles.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { clientLimits } from '../../../lib/limits.ts'
import type { FileTarget } from '../../../lib/ports/target.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { place } from '../../support/commands.ts'
import { hostileServer, nack, welcome } from '../../support/hostileServer.ts'
import { spec } from '../../support/spec.ts'
import { refuse, type ScriptedFile, scriptedFiles, wireFile } from './scriptedFiles.ts'

const content = new TextEncoder().encode('hello')

const filesOf = (...names: readonly string[]) =>
  new Map<string, ScriptedFile>(names.map((name) => [name, { content, version: `version of ${name}` }]))

async function namesOf(files: AsyncIterable<{ readonly name: string }>): Promise<string[]> {
  const names: string[] = []
  for await (const { name } of files) names.push(name)
  return names
}

spec('the stored files of a client', (it) => {
  it('are listed page by page, all or by prefix', async () => {
    await using server = await scriptedFiles(filesOf('a', 'b/1', 'b/2', 'b/3', 'c'))
    const { files } = server.client()
    assert.deepEqual(await namesOf(files.list()), ['a', 'b/1', 'b/2', 'b/3', 'c'])
    assert.equal(server.count('ListFilesReq'), 3)
    assert.deepEqual(await namesOf(files.list({ prefix: 'b/' })), ['b/1', 'b/2', 'b/3'])
  })

  it('are described with size, times, version, digest and metadata', async () => {
    await using server = await scriptedFiles(filesOf('a'))
    assert.deepEqual(await server.client().files.stat('a'), {
      name: 'a',
      size: 5,
      modifiedAt: 1_000,
      storedAt: 2_000,
      version: 'version of a',
      algorithm: 'sha256',
      digest: '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824',
      metadata: { contentType: 'text/plain' },
    })
  })

  it('do not keep the caller waiting after an abort, or after the end of the client', async () => {
    await using server = await scriptedFiles(filesOf('a'), ({ message }) => message.event !== 'StatFileReq')
    const client = server.client()
    const aborting = new AbortController()
    const aborted = assert.rejects(client.files.stat('a', { signal: aborting.signal }), {
      code: 'closed',
      message: 'the request was aborted',
    })
    const isClosed = { code: 'closed', message: 'the client was closed' }
    const closed = assert.rejects(client.files.stat('a'), isClosed)
    aborting.abort()
    await aborted
    await client.close()
    await closed
    await assert.rejects(client.files.stat('a'), isClosed)
  })

  it('have times that a Date can represent', async () => {
    const file = { content, version: 'v', modifiedAt: Number.MAX_SAFE_INTEGER }
    await using server = await scriptedFiles(new Map([['a', file]]))
    const { modifiedAt } = await server.client().files.stat('a')
    assert.equal(new Date(modifiedAt).toISOString(), '+275760-09-13T00:00:00.000Z')
  })

  it('have no digest if the server does not know it', async () => {
    await using server = await scriptedFiles(filesOf('a'), ({ message, reply }) => {
      if (message.event !== 'StatFileReq' || message.flags !== 0) return true
      reply({
        event: 'StatFileAck',
        ...wireFile('a', { content, version: 'v' }),
        digest: 0,
        fileDigest: new Uint8Array(),
      })
      return false
    })
    const { files } = server.client()
    assert.deepEqual(Object.keys(await files.stat('a')), [
      'name',
      'size',
      'modifiedAt',
      'storedAt',
      'version',
      'metadata',
    ])
    assert.equal((await files.stat('a', { digest: true })).algorithm, 'sha256')
  })

  it('are removed, and a repeated removal is reported', async () => {
    await using server = await scriptedFiles(filesOf('a'))
    const { files } = server.client()
    assert.equal(await files.remove('a'), true)
    assert.equal(await files.remove('a'), false)
    await assert.rejects(files.stat('a'), { code: 'no-such-file' })
  })

  it('are renamed by the version that the server has described, or a given one', async () => {
    await using server = await scriptedFiles(filesOf('a'))
    const { files } = server.client()
    assert.equal(await files.rename('a', 'b'), false)
    assert.deepEqual(await namesOf(files.list()), ['b'])
    await assert.rejects(files.rename('b', 'c', { version: 'other' }), { code: 'version-changed' })
    assert.equal(server.count('StatFileReq'), 1)
  })

  it('reject invalid arguments before anything is sent', async () => {
    await using server = await scriptedFiles(filesOf())
    const { files } = server.client()
    await assert.rejects(files.stat('../a'), { code: 'bad-name' })
    await assert.rejects(files.stat(1 as never), { code: 'usage', message: /files\.stat: the name must be a string/u })
    await assert.rejects(files.remove('a', { verson: '1' } as never), { code: 'usage' })
    await assert.rejects(files.rename('a', 'b\u0000'), { code: 'bad-name' })
    await assert.rejects(files.list({ prefix: 1 as never }).next(), { code: 'usage' })
    assert.throws(() => files.download('a', { to: 'x' }), { code: 'usage' })
    assert.throws(() => files.download('a', { overwrite: true }), { code: 'usage' })
    assert.throws(() => files.download({} as never), { code: 'usage' })
    assert.throws(() => files.download('a', { to: { open: async () => undefined }, offset: 1 }), { code: 'usage' })
    assert.equal(server.dialled, 0)
  })

  it('are not available from a server without this feature', async () => {
    await using server = await hostileServer(() => true)
    await assert.rejects(server.client().files.stat('a'), {
      code: 'unsupported-version',
      message: /does not list or return/u,
    })
    assert.equal(server.count('StatFileReq'), 0)
  })

  it('reject names that are not safe to use', async () => {
    for (const fileName of ['../x', '/x', 'a/../x', 'a\u001Bb', '']) {
      await using server = await hostileServer(({ message, reply }) => {
        const file = wireFile(fileName, { content, version: 'v' })
        if (message.event === 'HelloReq') reply({ ...welcome, features: 2 })
        else if (message.event === 'StatFileReq') reply({ event: 'StatFileAck', ...file })
        else reply({ event: 'ListFilesAck', files: [file], more: 0 })
        return false
      })
      const { files } = server.client()
      await assert.rejects(files.stat('a'), { code: 'malformed' })
      await assert.rejects(namesOf(files.list()), { code: 'malformed' })
    }
  })

  it('end a list if the server announces more and sends nothing', async () => {
    await using server = await scriptedFiles(filesOf(), ({ message, reply }) => {
      if (message.event !== 'ListFilesReq') return true
      reply({ event: 'ListFilesAck', files: [], more: 1 })
      return false
    })
    await assert.rejects(namesOf(server.client().files.list()), { code: 'malformed' })
  })

  it('are asked for again after a lost link and after a refusal for a limited time', async () => {
    let tries = 0
    const real = nodePlatform()
    const platform = { ...real, random: { ...real.random, fraction: () => 0 } }
    await using server = await scriptedFiles(filesOf('a'), (heard) => {
      if (heard.message.event !== 'RemoveFileReq') return true
      tries++
      if (tries === 1) heard.stream.destroy()
      if (tries === 2) refuse(heard, 'rate-limited')
      return tries > 2
    })
    assert.equal(await server.client({ platform, retryForMs: 60_000 }).files.remove('a'), true)
    assert.deepEqual([tries, server.dialled], [3, 2])
  })

  it('stop waiting for the server when the signal aborts', async () => {
    await using server = await scriptedFiles(filesOf('a'), ({ message }) => message.event === 'HelloReq')
    const stopping = new AbortController()
    const { signal } = stopping
    const { files } = server.client()
    const waiting = [files.stat('a', { signal }), files.remove('a', { signal }), files.list({ signal }).next()]
    const ended = Promise.all(waiting.map((each) => assert.rejects(each, { code: 'closed' })))
    stopping.abort()
    await ended
  })

  it('stop waiting when the client is closed', async () => {
    await using server = await scriptedFiles(filesOf('a'), ({ message }) => message.event === 'HelloReq')
    const client = server.client()
    const waiting = assert.rejects(client.files.stat('a'), { code: 'closed' })
    await client.close()
    await waiting
  })
})

spec('downloads to targets', (it) => {
  it('run in a limited number at once, and one that waits can be aborted', async () => {
    await using server = await scriptedFiles(filesOf('a'))
    const { files } = server.client()
    const opened = deferred<void>()
    let count = 0
    const to: FileTarget = {
      async open() {
        count++
        await opened.promise
        return undefined
      },
    }
    const stopping = new AbortController()
    const first = Array.from({ length: clientLimits.downloads }, () => files.download('a', { to }))
    const aborted = files.download('a', { to, signal: stopping.signal })
    const last = files.download('a', { to })
    const rejected = assert.rejects(aborted.done, { code: 'closed' })
    stopping.abort()
    await rejected
    while (count < clientLimits.downloads) await files.stat('a')
    assert.equal(server.count('ReadFileReq'), 0)
    assert.equal(last.phase, 'waiting')
    assert.equal(count, clientLimits.downloads)
    opened.resolve()
    await Promise.all([...first, last].map(({ done }) => done))
    assert.equal(count, clientLimits.downloads + 1)
  })

  it('are downloaded to a path or the URL of a file', async () => {
    await using at = await place()
    await using server = await scriptedFiles(filesOf('a'))
    const client = server.client({ localFiles })
    for (const to of [join(at.path, 'b'), pathToFileURL(join(at.path, 'c'))])
      await client.files.download('a', { to }).done
    for (const name of ['b', 'c']) assert.deepEqual(readFileSync(join(at.path, name)), Buffer.from(content))
    assert.throws(() => client.files.download('a', { to: new URL('http://x/a') }), {
      code: 'usage',
      message: /file: U/u,
    })
    assert.throws(() => server.client().files.download('a', { to: 'b' }), { code: 'usage', message: /no file system/u })
  })

  it('use what a list has described, without another request', async () => {
    await using at = await place()
    await using server = await scriptedFiles(filesOf('a'))
    const client = server.client({
      localFiles,
    })
    for await (const file of client.files.list())
      await client.files.download(file, { to: join(at.path, file.name) }).done
    assert.equal(server.count('StatFileReq'), 0)
    assert.equal(server.count('ReadFileReq'), 1)
  })

  it('fail with the error of the server that is final', async () => {
    await using server = await scriptedFiles(filesOf('a'), ({ message, reply }) => {
      if (message.event === 'ReadFileReq') reply(nack('ReadFileNack', 'internal'))
      return message.event !== 'ReadFileReq'
    })
    const content = server.client().files.download('a')[Symbol.asyncIterator]()
    await assert.rejects(content.next(), { code: 'internal' })
  })
})
