import assert from 'node:assert/strict'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'
import { turns } from '../../support/turns.ts'
import { UploadRig } from '../../support/uploadRig.ts'

const source = (name: string) => memorySource(name, patterned(5_000))

spec('an upload with receipts', (it) => {
  it('is handled when each recipient, each user of a rule and the handler of the server have handled the message about it', async () => {
    const handled: string[] = []
    await using rig = await UploadRig.start(
      {},
      {
        notify: [{ user: 'ingest', pattern: '*.csv' }],
        onStored: async (file) => {
          handled.push(file.name)
          return `stored ${file.name}`
        },
      },
    )
    rig.client({ user: 'bob' }).receive((message) => `bob has ${message.file?.name}`)
    rig.client({ user: 'ingest' }).receive((message) => message.reject('no such table'))
    const alice = rig.client()
    const upload = await alice.upload(source('a.csv'), { to: ['bob'], receipt: true })
    const { notice, notified } = await upload.done
    assert.deepEqual([notice?.recipients, notified?.recipients], [['bob'], ['ingest', ':stored']])
    const ids = (await upload.handled).map(({ messageId, recipient }) => [recipient, messageId])
    assert.deepEqual(ids.sort(), [
      [':stored', notified?.id],
      ['bob', notice?.id],
      ['ingest', notified?.id],
    ])
    const texts = (await upload.handled).map(({ recipient, state, result }) => `${recipient} ${state}: ${result}`)
    assert.deepEqual(texts.sort(), [
      ':stored handled: stored a.csv',
      'bob handled: bob has a.csv',
      'ingest rejected: no such table',
    ])
    const other = await alice.upload(source('b.txt'), { receipt: true })
    const [only, ...more] = await other.handled
    assert.deepEqual([only?.recipient, only?.result, more.length], [':stored', 'stored b.txt', 0])
    assert.deepEqual(handled, ['a.csv', 'b.txt'])
  })

  it('keeps each receipt on the server until the program asks for the next one', async () => {
    await using rig = await UploadRig.start({}, { notify: [{ user: 'ingest' }], onStored: () => 'stored' })
    rig.client({ user: 'ingest' }).receive(() => 'imported')
    rig.client({ user: 'bob' }).receive(() => 'read')
    const alice = rig.client()
    const upload = await alice.upload(source('a'), { to: ['bob'], receipt: true })
    const receipts = upload.receipts()
    const found = [(await receipts.next()).value, (await receipts.next()).value]
    await alice.close()
    for await (const receipt of rig.client().receipts()) if (found.push(receipt) === 4) break
    const results = found.map(({ result }) => result)
    assert.deepEqual(results.slice(0, 1), ['read'])
    // The second receipt was not removed, because the program did not ask for the third one.
    assert.ok(results.slice(2).includes(results[1]))
    assert.deepEqual([...new Set(results)].sort(), ['imported', 'read', 'stored'])
  })

  it('is handled even if links are cut and the server restarts', async () => {
    await using rig = await UploadRig.start({}, { notify: [{ user: 'ingest' }] })
    let calls = 0
    rig.client({ user: 'ingest' }).receive((message) => `${++calls} ${message.file?.name}`)
    const alice = rig.client()
    const uploads = await Promise.all(
      Array.from({ length: 30 }, (_, n) => alice.upload(source(`${n}`), { receipt: true })),
    )
    const all = uploads.map((upload) => upload.handled)
    for (const come of [5, 10, 20]) {
      await turns(() => calls >= come)
      rig.transport.cut()
      if (come === 10) await rig.server.close()
      if (come === 10) await rig.startServer()
    }
    const names = (await Promise.all(all)).map(([receipt]) => receipt?.result.split(' ')[1])
    assert.deepEqual(
      names,
      uploads.map(({ name }) => name),
    )
  })

  it('does not count as handled if an earlier upload has stored the file and notified its users', async () => {
    await using rig = await UploadRig.start({}, { notify: [{ user: 'ingest', pattern: '*.csv' }] })
    const alice = rig.client()
    await (await alice.upload(source('a.csv'), { receipt: true })).done
    const again = await alice.upload(source('a.csv'), { receipt: true })
    await assert.rejects(again.handled, { code: 'file-exists' })
    const plain = await alice.upload(source('b.txt'))
    await plain.done
    assert.deepEqual(await (await alice.upload(source('b.txt'), { receipt: true })).handled, [])
    const receipts = rig.client().receipts()
    rig.client({ user: 'ingest' }).receive(() => 'imported')
    assert.deepEqual((await receipts.next()).value?.result, 'imported')
  })

  it('leaves all receipts to other iterators if an earlier upload has stored the file', async () => {
    await using rig = await UploadRig.start({}, { notify: [{ user: 'ingest' }] })
    const alice = rig.client()
    const other = rig.client()
    await (await other.upload(source('a'), { to: ['bob'], receipt: true })).done
    await other.close()
    const again = await alice.upload(source('a'), { to: ['bob'], receipt: true })
    rig.client({ user: 'bob' }).receive(() => 'read')
    rig.client({ user: 'ingest' }).receive(() => 'imported')
    await assert.rejects(again.handled, { code: 'file-exists' })
    const found: string[] = []
    for await (const { recipient } of alice.receipts()) if (found.push(recipient) === 3) break
    assert.deepEqual(found.sort(), ['bob', 'bob', 'ingest'])
  })

  it('has a message about each version that is stored if its source changes', async () => {
    await using rig = await UploadRig.start({}, { notify: [{ user: 'ingest' }] })
    for (const user of ['bob', 'ingest']) rig.client({ user }).receive((message) => `${message.file?.size} bytes`)
    const alice = rig.client()
    const changing = source('a')
    rig.server.on('stored', () => {
      if (changing.bytes.length > 5_000) return
      rig.transport.cut()
      Object.assign(changing, { bytes: patterned(6_000), modifiedAt: changing.modifiedAt + 1 })
    })
    const upload = await alice.upload(changing, { to: ['bob'], receipt: true })
    const texts = (await upload.handled).map(({ recipient, result }) => `${recipient}: ${result}`)
    assert.deepEqual(texts, ['bob: 6000 bytes', 'ingest: 6000 bytes'])
    const others: string[] = []
    for await (const { recipient, result } of alice.receipts()) if (others.push(`${recipient}: ${result}`) === 2) break
    assert.deepEqual(others.sort(), ['bob: 5000 bytes', 'ingest: 5000 bytes'])
  })

  it('is handled at once if no user is notified, and has no receipts without the option', async () => {
    await using rig = await UploadRig.start()
    const alice = rig.client()
    assert.deepEqual(await (await alice.upload(source('a'), { receipt: true })).handled, [])
    const plain = await alice.upload(source('b'))
    await assert.rejects(plain.handled, { code: 'usage' })
  })
})
