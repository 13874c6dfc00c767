import assert from 'node:assert/strict'
import { fixed } from '../../../lib/limits.ts'
import type { WireMessage } from '../../../lib/wire/message.ts'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'

const bytes = patterned(1_000)
const file = { fileName: 'a', size: 1_000, modifiedAt: 1_000, digest: 2 }
const textsOf = (metadata: Readonly<Record<string, string>>) =>
  Object.entries(metadata).map(([key, value]) => ({ key, value }))

spec('the metadata of a file', (it) => {
  it('is kept from the start of its upload, across a crash of the server', async () => {
    await using rig = await ServerRig.onDisk()
    const client = await rig.client()
    const metadata = textsOf({ contentType: 'image/jpeg', käse: 'ja', empty: '' })
    client.raw.send('StartPostFileReq', { ...file, metadata })
    const { instance } = await client.raw.expect('StartPostFileAck')
    await client.chunk(instance, 0, bytes.subarray(0, 500))
    await client.pause(instance)
    await rig.crash()
    await rig.restart()
    const next = await rig.client()
    next.raw.send('ContinuePostFileReq', { ...file, progress: 0, metadata: textsOf({ other: 'is ignored' }) })
    const granted = await next.raw.expect('ContinuePostFileAck')
    await next.chunk(granted.instance, granted.progress, bytes.subarray(granted.progress))
    await next.end(granted.instance, sha256(bytes))
    next.raw.send('StatFileReq', { fileName: 'a', flags: 0 })
    assert.deepEqual((await next.raw.expect('StatFileAck')).metadata, metadata)
  })

  it('is kept if the file is renamed and is then sent again without metadata', async () => {
    await using rig = await ServerRig.start({}, { onConflict: 'replace' })
    const client = await rig.client()
    const { raw } = client
    const send = async (fields: Partial<WireMessage<'StartPostFileReq'>>) => {
      raw.send('StartPostFileReq', { ...file, ...fields })
      const { instance, progress } = await raw.expect('StartPostFileAck')
      if (progress < bytes.length) await client.chunk(instance, progress, bytes.subarray(progress))
      await client.end(instance, sha256(bytes))
    }
    const metadata = textsOf({ contentType: 'image/jpeg' })
    await send({ metadata })
    await send({ fileName: 'b' })
    raw.send('RenameFileReq', { fileName: 'a', newName: 'b', version: '', flags: 1 })
    await raw.expect('RenameFileAck')
    await send({ fileName: 'b' })
    raw.send('StatFileReq', { fileName: 'b', flags: 0 })
    assert.deepEqual((await raw.expect('StatFileAck')).metadata, metadata)
  })

  it('has bounds', async () => {
    await using rig = await ServerRig.start()
    const { raw } = await rig.client()
    const start = (metadata: Readonly<Record<string, string>>) =>
      raw.send('StartPostFileReq', { ...file, metadata: textsOf(metadata) })
    const { metadataTexts, metadataBytes } = fixed
    const keys = Array.from({ length: metadataTexts + 1 }, (_, at) => `${at}`)
    start(Object.fromEntries(keys.map((key) => [key, ''])))
    await raw.refused('StartPostFileNack', 'too-large')
    start({ ä: 'x'.repeat(metadataBytes - 1) })
    await raw.refused('StartPostFileNack', 'too-large')
    start({ ä: 'x'.repeat(metadataBytes - 2), ...{} })
    await raw.expect('StartPostFileAck')
  })

  for (const metadata of [{ '': 'x' }, { 'a\0': 'x' }, { a: 'x\0' }]) {
    it(`is malformed with the text ${JSON.stringify(metadata)}`, async () => {
      await using rig = await ServerRig.start()
      const { raw } = await rig.client()
      raw.send('StartPostFileReq', { ...file, metadata: textsOf(metadata) })
      await raw.dismissed('malformed')
    })
  }
})
