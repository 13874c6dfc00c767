import assert from 'node:assert/strict'
import { mixedScripts, skeletonsOf } from '../../../../lib/adapters/auth/usersFile/lookalikes.ts'
import { usersFile } from '../../../../lib/adapters/auth/usersFile.ts'
import { place } from '../../../support/commands.ts'
import { spec } from '../../../support/spec.ts'

const looksLike = (one: string, other: string) =>
  [...skeletonsOf(one)].some((skeleton) => skeletonsOf(other).has(skeleton))

spec('a name that looks like another one', (it) => {
  for (const [one, other, what] of [
    ['scope', 'ѕсоре', 'all of its letters are Cyrillic'],
    ['Bob', 'Воb', 'two of its letters are Cyrillic'],
    ['bob', 'ВОВ', 'its Cyrillic letters look like capitals'],
    ['TOM', 'ΤΟΜ', 'its letters are Greek'],
    ['nano', 'ոaոo', 'some of its letters are Armenian'],
    ['ADAM', 'ᎪᎠᎪᎷ', 'its letters are Cherokee'],
    ['user1', 'userl', 'it has an l in the place of a one'],
    ['Ian', 'lan', 'it has an l in the place of an I'],
    ['bob0', 'bobO', 'it has an O in the place of a zero'],
    ['morning', 'moming', 'it has an m in the place of rn'],
    ['will', 'vvill', 'it has two v in the place of a w'],
    ['ПФ', 'ΠΦ', 'its Greek letters look like Cyrillic ones'],
    ['paypal', '𝐩𝐚𝐲𝐩𝐚𝐥', 'its letters are mathematical'],
    ['bob smith', 'bob  smith', 'it has a second space'],
    ['ana-maria', 'ana‐maria', 'its hyphen is another one'],
    ["o'neil", 'o’neil', 'its apostrophe is another one'],
    ['ian', 'i\u0307an', 'it has a second dot'],
    ['max', 'ma×', 'it has the sign of multiplication'],
    ['noël', 'nоёl', 'the letter below its accent is Cyrillic'],
  ] as const) {
    it(`is found if ${what}: ${other} and ${one}`, () => {
      assert.ok(looksLike(one, other))
      assert.ok(looksLike(other, one))
    })
  }

  it('is not found if it is different', () => {
    for (const [one, other] of [
      ['alice', 'alicia'],
      ['anna', 'аня'],
      ['bob', 'rob'],
      ['noel', 'noël'],
      ['李', '季'],
    ] as const) {
      assert.ok(!looksLike(one, other), `${one} ${other}`)
    }
  })
})

spec('a name that mixes scripts', (it) => {
  it('is found, with the scripts', () => {
    assert.equal(mixedScripts('аlice'), 'Latin and Cyrillic')
    assert.equal(mixedScripts('alicε'), 'Latin and Greek')
    assert.equal(mixedScripts('ивανος'), 'Greek and Cyrillic')
  })

  it('of a script that is not in use is also found', () => {
    assert.equal(mixedScripts('𐌀𐌁'), 'one that is not in use')
  })

  it('is not found in one script, with digits, signs, accents and emoji, nor in scripts that are written together', () => {
    for (const name of [
      'alice',
      'alice-2_b@example.org',
      'José María',
      'иван3',
      'Αλέξανδρος',
      '李明',
      'ラーメンtaro漢字',
      '김철수',
      '김a',
      'محمد٣',
      'राम',
      'bob🎉',
      '42',
    ]) {
      assert.equal(mixedScripts(name.normalize('NFC')), undefined, name)
    }
  })
})

spec('a list of users', (it) => {
  it('accepts no name that looks like a known one or mixes scripts, unless forced', async () => {
    await using at = await place()
    const users = usersFile(at.path)
    await users.add('scope')
    const refused = [
      ['ѕсоре', 'name-conflict', /^ѕсоре can be mistaken for the user scope; .* --force$/u],
      ['аlice', 'bad-name', /^аlice mixes characters of different scripts \(Latin and Cyrillic\) .* --force$/u],
    ] as const
    for (const [name, code, message] of refused) await assert.rejects(users.add(name), { code, message })
    assert.deepEqual(
      (await users.list()).map(({ name }) => name),
      ['scope'],
    )
    for (const [name] of refused) await users.add(name, { force: true })
    await assert.rejects(users.add('SCOPE', { force: true }), { code: 'name-conflict' })
    const names = (await usersFile(at.path).list()).map(({ name }) => name)
    assert.deepEqual(names.sort(), ['scope', ...refused.map(([name]) => name)].sort())
    assert.equal(await users.knows('ѕсоре'), true)
  })
})
