import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../support/source.ts'
import { spec } from '../support/spec.ts'

const row = /^\| (?<promise>.+?) \| `(?<path>spec\/[\w/]+\.spec\.ts)`(?:: \*(?<fact>.+?)\*)? \|$/gmu
const page = readFileSync(join(root, 'docs/security.md'), 'utf8')
const promises = [...page.matchAll(row)].map(({ groups }) => groups ?? {})

spec('each promise of docs/security.md', (it) => {
  it('is in a row that names a spec', () => {
    const [, table = ''] = page.split('| --- | --- |\n').slice(-2)
    assert.equal(promises.length, table.trim().split('\n').length)
  })

  for (const { promise, path = '', fact = '' } of promises) {
    it(`is checked: ${promise}`, () => assert.ok(readFileSync(join(root, path), 'utf8').includes(fact), fact))
  }
})
