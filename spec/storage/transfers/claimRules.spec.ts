import assert from 'node:assert/strict'
import { conflictingName } from '../../../lib/storage/transfers/claimRules.ts'
import { spec } from '../../support/spec.ts'

const conflict = (there: string, name: string, foldsCase: boolean) => conflictingName([there], name, foldsCase)

spec('a record that conflicts with a name', (it) => {
  for (const foldsCase of [true, false]) {
    const where = foldsCase ? 'if case is folded' : 'if case is not folded'

    for (const [there, name, other] of [
      ['a/b', 'a', 'a/b'],
      ['a', 'a/b/c', 'a'],
      ['a', 'a', undefined],
      ['a/b', 'a/c', undefined],
      ['a', 'a.b', undefined],
      ['a0', 'a', undefined],
    ] as const) {
      it(`is ${other ?? 'none'} for ${name} next to ${there}, ${where}`, () => {
        assert.equal(conflict(there, name, foldsCase), other)
      })
    }

    for (const [there, name] of [
      ['Movie.mp4', 'movie.MP4'],
      ['A', 'a/b'],
      ['A/b', 'a'],
      ['straße', 'STRASSE'],
      ['ΟΔΟΣ', 'οδος'],
    ] as const) {
      const other = foldsCase ? there : undefined
      it(`is ${other ?? 'none'} for ${name} next to ${there}, ${where}`, () => {
        assert.equal(conflict(there, name, foldsCase), other)
      })
    }
  }
})
