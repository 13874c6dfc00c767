import assert from 'node:assert/strict'
import fc from 'fast-check'
import { compareNames, FirstEntries } from '../../../lib/storage/catalogue/storedTree.ts'
import { spec } from '../../support/spec.ts'

const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b))

spec('names of stored files', (it) => {
  it('are compared by their bytes in UTF-8', () => {
    const text = fc.string({ unit: 'binary', maxLength: 6 })
    const property = fc.property(text, text, (a, b) => {
      assert.equal(Math.sign(compareNames(a, b)), byBytes(a, b), JSON.stringify([a, b]))
    })
    fc.assert(property)
    assert.ok(compareNames('\u{1f600}', '\u{fb01}') > 0)
  })

  it('are kept in bounded memory while the first of them are searched', () => {
    const first = new FirstEntries<{ readonly name: string }>(3)
    for (let at = 999; at >= 0; at--) first.add({ name: String(at).padStart(3, '0') })
    assert.deepEqual(
      first.sorted().map(({ name }) => name),
      ['000', '001', '002'],
    )
    assert.equal(first.isCut, true)
  })
})
