import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { getEventListeners } from 'node:events'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileTarget } from '../../../lib/adapters/node/fileTarget.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { Client } from '../../../lib/client/client.ts'
import type { Download, DownloadPhase } from '../../../lib/client/files/download.ts'
import { clientLimits } from '../../../lib/limits.ts'
import type { WireMessage } from '../../../lib/wire/message.ts'
import { place } from '../../support/commands.ts'
import type { Act } from '../../support/hostileServer.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'
import { chunkBytes, refuse, type ScriptedFile, scriptedFiles } from './scriptedFiles.ts'

const content = randomBytes(1_000_000)

const platform = nodePlatform()

/** Options of a client that retries at once. */
const patient = { retryForMs: 60_000, platform: { ...platform, random: { ...platform.random, fraction: () => 0 } } }

/** A scripted server that stores `a`, and a folder to download to. */
async function bench(act?: Act) {
  const files = new Map<string, ScriptedFile>([['a', { content, version: 'v1', modifiedAt: 1_600_000_000_000 }]])
  const at = await place()
  const server = await scriptedFiles(files, act)
  const client = server.client()
  return {
    files,
    server,
    client,
    path: join(at.path, 'a'),
    entries: () => readdirSync(at.path).sort(),
    save: (overwrite = false) => client.files.download('a', { to: fileTarget(join(at.path, 'a'), { overwrite }) }),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await at[Symbol.asyncDispose]()
    },
  }
}

async function bytesOf(download: Download): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of download) parts.push(part)
  return Buffer.concat(parts)
}

spec('a download whose content is not read', (it) => {
  const leaving: Readonly<Record<string, (download: Download, client: Client) => unknown>> = {
    'its stream is cancelled': (download) => download.stream().cancel(),
    'its iteration is left': (download) => download[Symbol.asyncIterator]().return?.(),
    'its client is closed': (_download, client) => client.close(),
  }
  for (const [what, leave] of Object.entries(leaving)) {
    it(`fails when ${what}`, async () => {
      await using at = await bench()
      const download = at.client.files.download('a')
      await leave(download, at.client)
      await assert.rejects(download.done, { code: 'closed' })
      assert.equal(download.phase, 'failed')
    })
  }

  it('fails when it is aborted, and cannot be read then', async () => {
    await using at = await bench()
    const aborting = new AbortController()
    const download = at.client.files.download('a', { signal: aborting.signal })
    const content = download[Symbol.asyncIterator]()
    aborting.abort()
    await assert.rejects(download.done, { code: 'closed' })
    await assert.rejects(content.next(), { code: 'closed' })
  })
})

spec('a download whose content is being read', (it) => {
  it('fails when its client is closed, even if the application does not read on', async () => {
    await using at = await bench()
    const download = at.client.files.download('a')
    await download[Symbol.asyncIterator]().next()
    await at.client.close()
    await assert.rejects(download.done, { code: 'closed' })
  })

  const leaving: Readonly<Record<string, (download: Download) => unknown>> = {
    'its stream is cancelled': async (download) => {
      const reader = download.stream().getReader()
      const reading = reader.read()
      await reader.cancel()
      assert.deepEqual(await reading, { done: true, value: undefined })
    },
    'its iteration is left': async (download) => {
      const content = download[Symbol.asyncIterator]()
      const reading = content.next()
      await content.return?.()
      await assert.rejects(reading, { code: 'closed' })
    },
  }
  for (const [what, leave] of Object.entries(leaving)) {
    it(`fails when ${what}, although the server does not answer`, async () => {
      await using at = await bench(({ message }) => message.event !== 'ReadFileReq')
      const download = at.client.files.download('a')
      await leave(download)
      await assert.rejects(download.done, { code: 'closed' })
    })
  }
})

spec('a download to a file', (it) => {
  it('writes nothing if it is aborted while it waits for other downloads', async () => {
    await using at = await bench(({ message }) => message.event !== 'ReadFileReq')
    const known = await at.client.files.stat('a', { digest: true })
    const downloads = Array.from({ length: clientLimits.downloads + 3 }, (_, number) =>
      at.client.files.download(known, { to: fileTarget(`${at.path}${number}`) }),
    )
    while (at.entries().length < 2 * clientLimits.downloads) await turn()
    await at.client.close()
    for (const { done } of downloads) await assert.rejects(done, { code: 'closed' })
    assert.equal(at.entries().length, 2 * clientLimits.downloads)
  })

  it('leaves no listener on its signal, even if it has waited for other downloads', async () => {
    await using at = await bench()
    const signals: AbortSignal[] = []
    const { any } = AbortSignal
    AbortSignal.any = (sources) => {
      const signal = any.call(AbortSignal, sources)
      signals.push(signal)
      return signal
    }
    try {
      const downloads = Array.from({ length: clientLimits.downloads + 3 }, (_, number) =>
        at.client.files.download('a', { to: fileTarget(`${at.path}${number}`) }),
      )
      await Promise.all(downloads.map(({ done }) => done))
    } finally {
      AbortSignal.any = any
    }
    assert.equal(signals.flatMap((signal) => getEventListeners(signal, 'abort')).length, 0)
  })

  it('has content, digest and modification time of the stored file, and leaves nothing beside it', async () => {
    await using at = await bench()
    const download = at.save()
    const phases: DownloadPhase[] = []
    download.on('phase', (phase) => void phases.push(phase))
    const { name, size, version } = await download.done
    assert.deepEqual({ name, size, version }, { name: 'a', size: content.length, version: 'v1' })
    assert.deepEqual(readFileSync(at.path), content)
    assert.equal(statSync(at.path).mtimeMs, 1_600_000_000_000)
    assert.deepEqual(at.entries(), ['a'])
    assert.deepEqual(phases, ['receiving', 'verifying', 'done'])
    assert.deepEqual(download.progress, { received: content.length, size: content.length })
    assert.equal(download.transferred, content.length)
  })

  it('continues where an interrupted download has stopped', async () => {
    await using at = await bench()
    const stopping = new AbortController()
    const first = at.client.files.download('a', { to: fileTarget(at.path), signal: stopping.signal })
    first.on('progress', ({ received }) => received > 100_000 && stopping.abort())
    await assert.rejects(first.done, { code: 'closed' })
    assert.deepEqual(at.entries(), ['a.part', 'a.part.json'])
    const kept = statSync(`${at.path}.part`).size
    assert.ok(kept > 100_000, `${kept} bytes were kept`)
    const second = at.save()
    await second.done
    assert.deepEqual(readFileSync(at.path), content)
    assert.equal(second.transferred, content.length - kept)
    assert.deepEqual(at.entries(), ['a'])
  })

  it('begins again if what an interrupted download has left is damaged', async () => {
    await using at = await bench()
    const stopping = new AbortController()
    const first = at.client.files.download('a', { to: fileTarget(at.path), signal: stopping.signal })
    first.on('progress', () => stopping.abort())
    await assert.rejects(first.done, { code: 'closed' })
    writeFileSync(`${at.path}.part`, new Uint8Array(statSync(`${at.path}.part`).size))
    await at.save().done
    assert.deepEqual(readFileSync(at.path), content)
    assert.deepEqual(at.entries(), ['a'])
  })

  it('transfers nothing if the file has the content already', async () => {
    await using at = await bench()
    writeFileSync(at.path, content)
    const download = at.save()
    await download.done
    assert.equal(download.transferred, 0)
    assert.equal(at.server.count('ReadFileReq'), 0)
    assert.deepEqual(download.progress, { received: content.length, size: content.length })
  })

  it('does not replace a file with other content, unless it may overwrite it', async () => {
    await using at = await bench()
    writeFileSync(at.path, 'mine', { mode: 0o640 })
    await assert.rejects(at.save().done, { code: 'target-exists' })
    assert.equal(readFileSync(at.path, 'utf8'), 'mine')
    assert.deepEqual(at.entries(), ['a'])
    await at.save(true).done
    assert.deepEqual(readFileSync(at.path), content)
    assert.equal(statSync(at.path).mode & 0o777, 0o640)
  })

  it('does not replace a file that was created meanwhile', async () => {
    await using at = await bench()
    const download = at.save()
    download.once('progress', () => writeFileSync(at.path, 'mine'))
    await assert.rejects(download.done, { code: 'target-exists' })
    assert.equal(readFileSync(at.path, 'utf8'), 'mine')
  })

  it('continues after a lost link, and asks again only for what has not arrived', async () => {
    let cut = 3
    await using at = await bench(({ message, stream }) => {
      const isCut = message.event === 'ReadFileReq' && message.offset > 0 && cut-- === 0
      if (isCut) stream.destroy()
      return !isCut
    })
    const client = at.server.client(patient)
    const download = client.files.download('a', { to: fileTarget(at.path) })
    await download.done
    assert.deepEqual(readFileSync(at.path), content)
    assert.equal(download.transferred, content.length)
    assert.ok(at.server.dialled >= 2)
  })

  it('waits while the server refuses for a limited time', async () => {
    let refusals = 2
    await using at = await bench((heard) => {
      if (heard.message.event !== 'ReadFileReq' || refusals === 0) return true
      refusals--
      refuse(heard, 'no-idle-instance')
      return false
    })
    const download = at.server.client(patient).files.download('a', { to: fileTarget(at.path) })
    const phases: string[] = []
    download.on('phase', (phase) => void phases.push(`${phase} ${download.error?.code}`))
    await download.done
    assert.deepEqual(readFileSync(at.path), content)
    assert.ok(phases.length >= 3, `${phases}`)
  })

  it('begins again with the new version if the file is replaced meanwhile', async () => {
    const other = randomBytes(900_000)
    await using at = await bench()
    const download = at.save()
    download.once('progress', () => void at.files.set('a', { content: other, version: 'v2' }))
    assert.equal((await download.done).version, 'v2')
    assert.deepEqual(readFileSync(at.path), other)
    assert.deepEqual(at.entries(), ['a'])
  })

  it('gives up on a file that is replaced again and again', async () => {
    await using at = await bench((heard) => {
      if (heard.message.event !== 'ReadFileReq') return true
      refuse(heard, 'version-changed')
      return false
    })
    await assert.rejects(at.save().done, { code: 'version-changed' })
    assert.equal(at.server.count('StatFileReq'), clientLimits.versionTries + 1)
  })

  it('fails if the wanted version is no longer stored', async () => {
    await using at = await bench()
    const to = fileTarget(at.path)
    await assert.rejects(at.client.files.download('a', { to, version: 'v0' }).done, { code: 'version-changed' })
    assert.equal(at.server.count('StatFileReq'), 1)
  })

  it('fails after a bounded number of contents with another digest, and leaves nothing', async () => {
    await using at = await bench(({ message, reply }) => {
      if (message.event !== 'ReadFileReq') return true
      const { offset, length } = message as WireMessage<'ReadFileReq'>
      reply({ event: 'ReadFileAck', offset, content: [new Uint8Array(length)] })
      return false
    })
    await assert.rejects(at.save().done, { code: 'digest-mismatch' })
    assert.equal(at.server.count('StatFileReq'), clientLimits.digestTries + 1)
    assert.deepEqual(at.entries(), [])
  })

  it('fails if the server answers with other bytes than those asked for', async () => {
    for (const change of [{ offset: 1 }, { content: [] }, { content: [new Uint8Array(40_001)] }]) {
      await using at = await bench(({ message, reply }) => {
        if (message.event !== 'ReadFileReq') return true
        const { offset, length } = message as WireMessage<'ReadFileReq'>
        reply({ event: 'ReadFileAck', offset, content: [new Uint8Array(length)], ...change })
        return false
      })
      await assert.rejects(at.save().done, { code: 'malformed' })
    }
  })

  it('fails if there is no such file, and names a target that cannot be written', async () => {
    await using at = await bench()
    const to = fileTarget(join(at.path, 'x'))
    await assert.rejects(at.client.files.download('b', { to }).done, { code: 'no-such-file' })
    writeFileSync(at.path, 'x')
    await assert.rejects(at.client.files.download('a', { to }).done, { code: 'target-unwritable' })
  })

  it('saves an empty file', async () => {
    await using at = await bench()
    at.files.set('a', { content: new Uint8Array(), version: 'v1' })
    await at.save().done
    assert.equal(readFileSync(at.path).length, 0)
    assert.equal(at.server.count('ReadFileReq'), 0)
  })
})

spec('a download without a target', (it) => {
  it('hands over the content in order', async () => {
    await using at = await bench()
    const download = at.client.files.download('a')
    assert.deepEqual(await bytesOf(download), content)
    assert.equal((await download.done).version, 'v1')
    assert.throws(() => download[Symbol.asyncIterator](), { code: 'usage' })
  })

  it('is a web stream', async () => {
    await using at = await bench()
    const parts: Uint8Array[] = []
    for await (const part of at.client.files.download('a').stream()) parts.push(part)
    assert.deepEqual(Buffer.concat(parts), content)
  })

  it('begins at an offset', async () => {
    await using at = await bench()
    assert.deepEqual(await bytesOf(at.client.files.download('a', { offset: 999_000 })), content.subarray(999_000))
    await assert.rejects(bytesOf(at.client.files.download('a', { offset: 1_000_001 })), { code: 'usage' })
  })

  it('rejects at the end if the digest differs', async () => {
    await using at = await bench(({ message, reply }) => {
      if (message.event !== 'ReadFileReq') return true
      const { offset, length } = message as WireMessage<'ReadFileReq'>
      reply({ event: 'ReadFileAck', offset, content: [new Uint8Array(length)] })
      return false
    })
    const download = at.client.files.download('a')
    await assert.rejects(bytesOf(download), { code: 'digest-mismatch' })
    await assert.rejects(download.done, { code: 'digest-mismatch' })
  })

  it('requests a bounded number of bytes ahead of a slow reader', async () => {
    let bytes = 0
    await using at = await bench(({ message }) => {
      if (message.event === 'ReadFileReq') bytes += Math.min(message.length, chunkBytes)
      return true
    })
    at.files.set('a', { content: new Uint8Array(20_000_000), version: 'v1' })
    const parts = at.client.files.download('a')[Symbol.asyncIterator]()
    await parts.next()
    // Each answer shows that the requests before it have arrived.
    while (bytes < clientLimits.downloadBytes - chunkBytes) await at.client.files.list({ prefix: 'z' }).next()
    for (let more = 0; more < 10; more++) await at.client.files.list({ prefix: 'z' }).next()
    assert.ok(bytes <= clientLimits.downloadBytes + chunkBytes, `${bytes} bytes`)
    await parts.return?.()
  })

  it('can be left, or aborted while it waits', async () => {
    await using at = await bench(({ message }) => message.event !== 'StatFileReq')
    const stopping = new AbortController()
    const waiting = at.client.files.download('a', { signal: stopping.signal })
    const ended = assert.rejects(bytesOf(waiting), { code: 'closed' })
    stopping.abort()
    await ended
    await using other = await bench()
    const left = other.client.files.download('a')
    for await (const _ of left) break
    await assert.rejects(left.done, { code: 'closed' })
  })

  it('rejects when its client is closed', async () => {
    await using at = await bench(({ message }) => message.event !== 'ReadFileReq')
    const reading = assert.rejects(bytesOf(at.client.files.download('a')), { code: 'closed' })
    const saving = assert.rejects(at.save().done, { code: 'closed' })
    await at.client.close()
    await Promise.all([reading, saving])
    assert.equal(existsSync(at.path), false)
  })
})
