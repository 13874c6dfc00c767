import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../support/source.ts'
import { spec } from '../support/spec.ts'
import { section } from './sections.ts'

const program = readFileSync(join(root, 'examples/sdk.ts'), 'utf8')
const regions = [...program.matchAll(/^\/\/ #region (\w+)\n(.*?)^\/\/ #endregion \1$/gmsu)]

spec('docs/sdk.md', (it) => {
  for (const [, name = '', text = ''] of regions) {
    it(`contains the part ${name} of examples/sdk.ts as it is run`, async () => {
      const printed = `\`\`\`ts\n${text}\`\`\`\n`
      assert.equal(await section('docs/sdk.md', name, printed), printed)
    })
  }

  it('contains every TypeScript example from that program', () => {
    const page = readFileSync(join(root, 'docs/sdk.md'), 'utf8')
    assert.equal(page.match(/^```ts$/gmu)?.length, regions.length)
  })
})
