import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as testing from '../../lib/testing.ts'
import { root } from '../support/source.ts'
import { spec } from '../support/spec.ts'

const page = readFileSync(join(root, 'docs/simulation.md'), 'utf8')

spec('docs/simulation.md', (it) => {
  it('names every exported function', () => {
    const names = Object.keys(testing)
    assert.ok(names.length >= 5)
    for (const name of names) assert.ok(page.includes(`\`${name}(`), name)
  })

  it('runs many seeds', () => {
    const [, program = ''] = /^## Ten thousand seeds\n\n```ts\n(.*?)^```$/msu.exec(page) ?? []
    assert.ok(program.includes('10_000'))
    const fewer = program.replace('10_000', '5')
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ['--import', 'tsx', '--input-type=module', '-e', fewer],
      {
        cwd: root,
        encoding: 'utf8',
      },
    )
    assert.deepEqual([status, stdout, stderr], [0, '', ''])
  })

  it('reduces a failing run, and runs the rest of it again', () => {
    const [, program = ''] = /^## A smaller run\n.*?^```ts\n(.*?)^```$/msu.exec(page) ?? []
    const forgetful = `
      const passing = (below, changes) => new Proxy(below, {
        get(_, name) {
          const value = changes[name] ?? below[name]
          return typeof value === 'function' ? value.bind(below) : value
        },
      })
      const flushless = (file) => passing(file, { flush: async () => {} })
      const forgetful = (below) => passing(below, {
        files: passing(below.files, { open: async (claim) => flushless(await below.files.open(claim)) }),
      })
    `
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ['--import', 'tsx', '--input-type=module', '-e', forgetful + program.replace(' as const', '')],
      { cwd: root, encoding: 'utf8' },
    )
    assert.deepEqual([status, stderr], [0, ''])
    assert.match(stdout, /FAULT: .*\nin \d+ runs: seed 3, part \{.*"actions":\[[\d,]*\].*\}\ntrue\n$/u)
  })
})
