import assert from 'node:assert/strict'
import fc from 'fast-check'
import { checkFileName, checkUserName, fileName, userName } from '../lib/names.ts'
import { spec } from './support/spec.ts'

const refused = { name: 'OspError', code: 'bad-name' }

function fileNamesAre(allowed: boolean, names: readonly string[]): void {
  for (const name of names) {
    const shown = JSON.stringify(name.slice(0, 50))
    if (allowed) assert.equal(checkFileName(name), name, shown)
    else assert.throws(() => checkFileName(name), refused, shown)
  }
}

spec('a file name', (it) => {
  it('is one part or several', () =>
    fileNamesAre(true, ['a', 'a b.txt', 'fotos/2024/ä.jpg', '…', '.hidden', 'a/...b', '😀']))

  it('has at most 1024 bytes, and 1 to 255 in each part', () => {
    const long = 'abc/'.repeat(255)
    fileNamesAre(true, ['a'.repeat(255), 'ä'.repeat(127), `${long}abcd`])
    fileNamesAre(false, ['', 'a'.repeat(256), 'ä'.repeat(128), `${long}abcde`, `${long}abcä`])
  })

  it('has no empty part', () => fileNamesAre(false, ['/a', 'a/', 'a//b', '/']))

  it('does not leave its directory', () => fileNamesAre(false, ['.', '..', '../a', 'a/../b', 'a/./b', 'a/..']))

  it('has no control characters, and none that turn the direction of writing', () => {
    fileNamesAre(false, [
      'a\0b',
      'a\nb',
      'a\x7f',
      'a\u0085',
      'a\u061cb',
      'a\u200eb',
      'a\u200fb',
      'a\u202eb',
      'a\u2066b',
      'a\u2069b',
    ])
  })

  it('has no backslash and no colon', () => fileNamesAre(false, ['a\\b', 'c:', 'a:b', 'a/b:c']))

  it('has no part that ends in a dot or a space', () => fileNamesAre(false, ['a.', 'a ', 'a./b', 'a /b', '...']))

  it('has no part that is a device on Windows', () => {
    fileNamesAre(false, [
      'con',
      'CON',
      'Nul.txt',
      'a/aux/b',
      'com1',
      'LPT9.tar.gz',
      'com\u00b9',
      'conin$',
      'con .txt',
      'prn',
    ])
    fileNamesAre(true, ['con1', 'xcon', 'com', 'com10', 'lpt', 'auxiliary', 'nul-a', 'a.con'])
  })

  it('is in the form NFC', () => {
    fileNamesAre(true, ['\u00e4'])
    fileNamesAre(false, ['a\u0308', 'b/a\u0308', '\u212b'])
  })

  it('is valid Unicode', () => fileNamesAre(false, ['\ud800', 'a\udc00b']))

  it('is refused with a sentence that names it and says what is wrong', () => {
    assert.throws(() => checkFileName('a/../b'), {
      message: 'the file name "a/../b" is not allowed: it has ".." as a part',
    })
    assert.throws(
      () => checkFileName('x'.repeat(2_000)),
      /^OspError: the file name "x{80}…" is not allowed: it is over 1024/u,
    )
  })

  it('that is allowed stays within its directory, whatever it is', () => {
    const piece = fc.oneof(fc.constantFrom('/', '.', '..', '\\', ' ', ':', 'a', 'con'), fc.string({ unit: 'binary' }))
    const property = fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
      const name = pieces.join('')
      if (!fileName.safeParse(name).success) return
      const url = new URL(name.split('/').map(encodeURIComponent).join('/'), 'http://host/root/')
      assert.ok(url.pathname.startsWith('/root/'))
      assert.equal(url.pathname.split('/').length, name.split('/').length + 2)
      assert.ok(Buffer.byteLength(name) <= 1_024)
    })
    fc.assert(property, { numRuns: 2_000 })
  })
})

spec('a user name', (it) => {
  it('is one part of at most 64 bytes', () => {
    for (const name of ['alice', 'älice', 'a b', 'a@b.example', 'x'.repeat(64), 'ä'.repeat(32)]) {
      assert.equal(checkUserName(name), name)
    }
    for (const name of ['', 'a/b', '/', 'x'.repeat(65), 'ä'.repeat(33), '..', 'con', 'a.', 'a\n', 'a\u0308', 'a:b']) {
      assert.throws(() => checkUserName(name), refused, name)
    }
  })

  it('is refused with a sentence that names it and says what is wrong', () => {
    assert.throws(() => checkUserName('a/b'), { message: 'the user name "a/b" is not allowed: it has a "/"' })
    assert.throws(() => checkUserName(''), { message: 'the user name "" is not allowed: it is empty' })
  })

  it('is a string', () => assert.equal(userName.safeParse(7).success, false))
})
