import assert from 'node:assert/strict'
import fc from 'fast-check'
import { checkFileName, checkStoredName, checkUserName, isFileName, isUserName, nameKey } from '../lib/names.ts'
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
  it('has one part or several', () =>
    fileNamesAre(true, ['a', 'a b.txt', 'fotos/2024/ä.jpg', '…', '.hidden', 'a/...b', '😀']))

  it('has at most 1024 bytes, and 1 to 255 in each part', () => {
    const long = `${'a'.repeat(203)}/`.repeat(5)
    fileNamesAre(true, ['a'.repeat(255), 'ä'.repeat(127), `${long}abcd`])
    fileNamesAre(false, ['', 'a'.repeat(256), 'ä'.repeat(128), `${long}abcde`, `${long}abcä`])
  })

  it('has at most 32 parts; one that an earlier version has stored can have more', () => {
    fileNamesAre(true, [`${'a/'.repeat(31)}a`])
    const deep = `${'a/'.repeat(32)}a`
    assert.throws(() => checkFileName(deep), { code: 'bad-name', message: /it has 33 parts; a name has at most 32/u })
    assert.equal(checkStoredName(deep), deep)
    assert.throws(() => checkStoredName('a//b'), refused)
  })

  it('has no empty part', () => fileNamesAre(false, ['/a', 'a/', 'a//b', '/']))

  it('does not leave its directory', () => fileNamesAre(false, ['.', '..', '../a', 'a/../b', 'a/./b', 'a/..']))

  it('has no control characters, and none that change the text direction', () => {
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

  it('has no invisible characters', () => {
    const points = [0xad, 0x180e, 0x200b, 0x2028, 0x2029, 0x2060, 0x2061, 0x2062, 0x2063, 0x2064, 0xfeff]
    fileNamesAre(
      false,
      points.flatMap((point) => [`a${String.fromCodePoint(point)}b`, `x/${String.fromCodePoint(point)}`]),
    )
    assert.throws(() => checkFileName('a\u200bb'), /it has the invisible character U\+200B/u)
  })

  it('can have the joiners and variation selectors that languages and emoji need', () =>
    fileNamesAre(true, ['می\u200cخواهم.txt', 'क्\u200dष', '👩\u200d💻.png', '❤\ufe0f', '葛\u{e0100}']))

  it('has no backslash and no colon', () => fileNamesAre(false, ['a\\b', 'c:', 'a:b', 'a/b:c']))

  it('has no part that ends in a dot or a space', () => fileNamesAre(false, ['a.', 'a ', 'a./b', 'a /b', '...']))

  it('has no part that is a device name of Windows', () => {
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

  it('is refused with an error that names it and the violated rule', () => {
    assert.throws(() => checkFileName('a/../b'), {
      message: 'the file name "a/../b" is not allowed: it has ".." as a part',
    })
    assert.throws(
      () => checkFileName('x'.repeat(2_000)),
      /^OspError: the file name "x{80}…" is not allowed: it is over 1024/u,
    )
  })

  it('that is allowed stays within its directory', () => {
    const piece = fc.oneof(fc.constantFrom('/', '.', '..', '\\', ' ', ':', 'a', 'con'), fc.string({ unit: 'binary' }))
    const property = fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
      const name = pieces.join('')
      if (!isFileName(name)) return
      const url = new URL(name.split('/').map(encodeURIComponent).join('/'), 'http://host/root/')
      assert.ok(url.pathname.startsWith('/root/'))
      assert.equal(url.pathname.split('/').length, name.split('/').length + 2)
      assert.ok(Buffer.byteLength(name) <= 1_024)
    })
    fc.assert(property, { numRuns: 2_000 })
  })
})

spec('a user name', (it) => {
  it('has one part of at most 64 bytes', () => {
    for (const name of ['alice', 'älice', 'a b', 'a@b.example', 'x'.repeat(64), 'ä'.repeat(32)]) {
      assert.equal(checkUserName(name), name)
    }
    for (const name of ['', 'a/b', '/', 'x'.repeat(65), 'ä'.repeat(33), '..', 'con', 'a.', 'a\n', 'a\u0308', 'a:b']) {
      assert.throws(() => checkUserName(name), refused, name)
    }
  })

  it('is refused with an error that names it and the violated rule', () => {
    assert.throws(() => checkUserName('a/b'), { message: 'the user name "a/b" is not allowed: it has a "/"' })
    assert.throws(() => checkUserName(''), { message: 'the user name "" is not allowed: it is empty' })
  })

  it('has no joiner, selector, tag or other ignorable character, and no space but the plain one', () => {
    const hidden = ['\u00ad', '\u034f', '\u115f', '\u180b', '\u200b', '\u200c', '\u200d', '\u2060', '\u3164', '\ufe0f']
    const more = [
      '\u{e0041}',
      '\u{e0100}',
      '\ufeff',
      '\u0600',
      '\ufff9',
      '\u00a0',
      '\u2003',
      '\u3000',
      '\u2028',
      '\u2800',
    ]
    for (const char of [...hidden, ...more]) {
      for (const name of [`bob${char}`, `${char}bob`, `b${char}ob`]) {
        assert.throws(() => checkUserName(name), refused, JSON.stringify(name))
      }
    }
    assert.throws(() => checkUserName(' bob'), /it begins with a space/u)
    assert.throws(() => checkUserName('bob\u3164'), /U\+3164, which is invisible/u)
  })

  it('has the same key as the names that differ from it only in case and width', () => {
    for (const [one, other] of [
      ['bob', 'BOB'],
      ['bob', 'ｂｏｂ'],
      ['file', 'ﬁle'],
      ['Ärger', 'ärger'],
      ['K', '\u212a'],
    ] as const) {
      assert.equal(nameKey(one), nameKey(other))
    }
    assert.notEqual(nameKey('bob'), nameKey('rob'))
  })

  it('has a key whose key is the key itself', () => {
    const property = fc.property(fc.string({ unit: 'binary' }), (name) => {
      assert.equal(nameKey(nameKey(name)), nameKey(name))
    })
    fc.assert(property, { numRuns: 2_000 })
  })

  it('that is allowed has only visible characters and plain spaces', () => {
    const unit = fc.oneof(
      fc.constantFrom('a', ' ', '\u200d', '\ufe0f', '\u00a0'),
      fc.string({ unit: 'binary', maxLength: 2 }),
    )
    const property = fc.property(fc.array(unit, { maxLength: 5 }), (units) => {
      const name = units.join('')
      if (!isUserName(name)) return
      assert.doesNotMatch(name, /[\p{Cc}\p{Cf}\p{Cs}\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}]/u)
      assert.equal(name, name.trim())
    })
    fc.assert(property, { numRuns: 2_000 })
  })
})
