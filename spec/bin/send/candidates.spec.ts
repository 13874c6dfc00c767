import assert from 'node:assert/strict'
import { OspError } from 'ospd'
import { namesIn } from '../../../bin/send/candidates.ts'
import { spec } from '../../support/spec.ts'

/** Returns the names in a list that is read in parts of `bytes`. */
async function read(list: string | Buffer, { from0 = false, bytes = 3 } = {}): Promise<readonly string[]> {
  const all = Buffer.from(list)
  async function* parts() {
    for (let at = 0; at < all.length; at += bytes) yield all.subarray(at, at + bytes)
  }
  const names = []
  for await (const name of namesIn(parts(), from0)) names.push(name)
  return names
}

const fails = (reading: Promise<unknown>, code: string, text: RegExp) =>
  assert.rejects(reading, (error) => error instanceof OspError && error.code === code && text.test(error.message))

spec('a list of names', (it) => {
  it('has a name on each line, with Unix or Windows line ends, which the last line need not have', async () => {
    for (const bytes of [1, 2, 3, 5, 100]) {
      assert.deepEqual(await read('a\nb b\r\n\n丁\r\n c ', { bytes }), ['a', 'b b', '丁', ' c '])
    }
    assert.deepEqual(await read(''), [])
    assert.deepEqual(await read('\n\r\n'), [])
  })

  it('can have names that end with NUL, which may contain any other character', async () => {
    assert.deepEqual(await read('a\nb\r\0c\0\0d', { from0: true }), ['a\nb\r', 'c', 'd'])
  })

  it('can begin with a byte order mark', async () => {
    for (const from0 of [false, true]) {
      assert.deepEqual(await read(`\uFEFFa${from0 ? '\0' : '\n'}`, { from0, bytes: 1 }), ['a'])
      assert.deepEqual(await read('\uFEFF', { from0 }), [])
    }
    assert.deepEqual(await read('a\n\uFEFFb'), ['a', '\uFEFFb'])
  })

  it('can have names of any bytes', async () => {
    assert.deepEqual(await read(Buffer.from([0x61, 0xff, 0x0a, 0x62])), ['a\uDCFF', 'b'])
  })

  it('in another format is rejected with the reason', async () => {
    await fails(read('a\0b\0'), 'usage', /contains NUL; add --from0/u)
    await fails(read(Buffer.from('\uFEFFa\nb\n', 'utf16le')), 'usage', /UTF-16; save it as UTF-8/u)
    await fails(
      read(Buffer.alloc(1_000_000, 'x'), { bytes: 10_000 }),
      'usage',
      /a name in it has more than 65536 bytes/u,
    )
  })

  it('that cannot be read further is reported', async () => {
    async function* broken() {
      yield Buffer.from('a\nb')
      throw new Error('EIO: i/o error, read')
    }
    const names = namesIn(broken())
    assert.deepEqual(await names.next(), { value: 'a', done: false })
    await fails(names.next(), 'source-unreadable', /^it cannot be read: EIO/u)
  })
})
