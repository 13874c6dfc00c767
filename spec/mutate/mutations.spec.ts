import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../support/source.ts'
import { spec } from '../support/spec.ts'
import { mutatedText } from './mutation.ts'
import { mutations } from './mutations.ts'

spec('the mutations', (it) => {
  it('have their places in the present source', () => {
    const lost = mutations.filter((mutation) => {
      return mutatedText(readFileSync(join(root, mutation.file), 'utf8'), mutation) === undefined
    })
    assert.deepEqual(
      lost.map(({ fault, file }) => `${file}: ${fault}`),
      [],
    )
  })
})
