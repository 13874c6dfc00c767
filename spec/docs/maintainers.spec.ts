import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import packageJson from '../../package.json' with { type: 'json' }
import { root } from '../support/source.ts'
import { spec } from '../support/spec.ts'

const pages = ['CONTRIBUTING.md', 'docs/architecture.md', 'docs/simulation.md']
const path = /`((?:lib|bin|spec|examples|docs|\.ci)\/[^`\s*]+)`/gu

for (const page of pages) {
  const text = readFileSync(join(root, page), 'utf8')

  spec(page, (it) => {
    it('names files and folders that exist', () => {
      const paths = [...text.matchAll(path)].map(([, name = '']) => name)
      assert.ok(paths.length > 3)
      assert.deepEqual(
        paths.filter((name) => !existsSync(join(root, name))),
        [],
      )
    })

    it('names scripts that exist', () => {
      const scripts = [...text.matchAll(/npm run ([\w:]+)/gu)].map(([, name = '']) => name)
      assert.deepEqual(
        scripts.filter((name) => !Object.hasOwn(packageJson.scripts, name)),
        [],
      )
    })
  })
}

spec('docs/architecture.md', (it) => {
  it('names each folder of lib/', () => {
    const text = readFileSync(join(root, 'docs/architecture.md'), 'utf8')
    const folders = ['wire', 'core', 'ports', 'runtime', 'storage', 'server', 'client', 'adapters', 'testing']
    for (const folder of folders) assert.ok(text.includes(`| \`${folder}/\` |`), folder)
  })
})
