import assert from 'node:assert/strict'
import { Recent } from '../../../lib/adapters/disk/recent.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { spec } from '../../support/spec.ts'

const unread = () => assert.fail('it was read')

spec('a value at hand', (it) => {
  it('is that which was read, or set, last; a key without a value is remembered too', async () => {
    const recent = new Recent(4)
    assert.equal(await recent.get('a', async () => '1'), '1')
    assert.equal(await recent.get('b', async () => undefined), undefined)
    assert.equal(await recent.get('a', unread), '1')
    assert.equal(await recent.get('b', unread), undefined)
    recent.set('a', '2')
    assert.equal(await recent.get('a', unread), '2')
    recent.forget('a')
    assert.equal(await recent.get('a', async () => '3'), '3')
    recent.clear()
    assert.equal(await recent.get('a', async () => '4'), '4')
  })

  it('is not what was read while it was forgotten or set', async () => {
    for (const change of [(recent: Recent) => recent.forget('a'), (recent: Recent) => recent.clear()]) {
      const recent = new Recent(4)
      const read = deferred<string>()
      const old = recent.get('a', () => read.promise)
      change(recent)
      read.resolve('old')
      assert.equal(await old, 'old')
      assert.equal(await recent.get('a', async () => 'new'), 'new')
    }
    const recent = new Recent(4)
    const read = deferred<string>()
    const old = recent.get('a', () => read.promise)
    recent.set('a', 'new')
    read.resolve('old')
    assert.equal(await old, 'old')
    assert.equal(await recent.get('a', unread), 'new')
  })

  it('is read again after a reading that has failed', async () => {
    const recent = new Recent(4)
    await assert.rejects(
      recent.get('a', () => Promise.reject(new Error('EIO'))),
      /EIO/u,
    )
    assert.equal(await recent.get('a', async () => '1'), '1')
  })

  it('is one of so many: the longest unchanged goes first', async () => {
    const recent = new Recent(2)
    for (const key of ['a', 'b', 'c']) recent.set(key, key)
    assert.equal(await recent.get('c', unread), 'c')
    assert.equal(await recent.get('b', unread), 'b')
    assert.equal(await recent.get('a', async () => 'anew'), 'anew')
  })
})
