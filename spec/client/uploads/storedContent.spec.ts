import assert from 'node:assert/strict'
import { clientLimits, KiB, MiB } from '../../../lib/limits.ts'
import { manualClockClient } from '../../support/manualClockClient.ts'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'
import { UploadRig } from '../../support/uploadRig.ts'

spec('content that the server has under the same name', (it) => {
  const bytes = 16 * KiB
  /** A client that sends them in more than the minimum time. */
  const slowly = { limitRate: ((bytes - 1) * 1_000) / clientLimits.askedMs }
  const start = () => UploadRig.start({ smallFileBytes: MiB })

  it('is not sent again, whatever the modification time', async () => {
    await using rig = await start()
    const client = rig.client(slowly)
    const content = patterned(bytes)
    const first = await (await client.upload(memorySource('a', content, 1_000))).done
    const upload = await client.upload(memorySource('a', content, 2_000))
    assert.deepEqual(await upload.done, { ...first, replaced: false })
    assert.deepEqual([upload.transferred, upload.phase], [0, 'done'])
    assert.equal((await client.files.stat('a')).modifiedAt, 1_000)
  })

  it('is not sent again in chunks if the modification time is the same', async () => {
    await using rig = await start()
    const client = rig.client(slowly)
    const source = memorySource('a', patterned(3 * MiB))
    const first = await (await client.upload(source)).done
    const upload = await client.upload(source)
    assert.deepEqual([await upload.done, upload.transferred], [first, 0])
  })

  it('is not sent again if onUpload has chosen another name, and a rename has undone that', async () => {
    let calls = 0
    const onUpload = ({ name }: { readonly name: string }) => ({ name: `${++calls}/${name}` })
    await using rig = await UploadRig.start({ smallFileBytes: MiB }, { onUpload })
    const client = rig.client(slowly)
    const source = memorySource('a', patterned(bytes))
    assert.equal((await (await client.upload(source)).done).storedName, '1/a')
    await client.files.rename('1/a', 'a')
    const upload = await client.upload(source)
    assert.equal((await upload.done).storedName, 'a')
    assert.deepEqual([upload.transferred, calls], [0, 1])
  })

  it('is replaced by other content of this length', async () => {
    await using rig = await start()
    const client = rig.client(slowly)
    await (await client.upload(memorySource('a', patterned(bytes)))).done
    const other = patterned(bytes).fill(1, bytes - 1)
    const upload = await client.upload(memorySource('a', other, 2_000))
    assert.equal((await upload.done).replaced, true)
    assert.equal(upload.transferred, bytes)
    assert.deepEqual(rig.stored('alice', 'a'), other)
  })

  it('is sent again after its removal, or to be verified with another digest', async () => {
    await using rig = await start()
    const client = rig.client(slowly)
    const source = memorySource('a', patterned(bytes))
    await (await client.upload(source)).done
    assert.equal((await (await client.upload(source, { digest: 'md5' })).done).algorithm, 'md5')
    await client.files.remove('a')
    const again = await client.upload(source)
    await again.done
    assert.equal(again.transferred, bytes)
  })

  it('is sent at once if that takes little time', async () => {
    await using rig = await start()
    // The clock stands still, so that sending takes no time even on a busy machine.
    const client = rig.client(manualClockClient(0).options)
    for (const modifiedAt of [1_000, 2_000]) {
      const upload = await client.upload(memorySource('a', patterned(bytes), modifiedAt))
      await upload.done
      assert.equal(upload.transferred, bytes)
    }
  })
})
