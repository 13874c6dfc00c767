import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { exitCodes } from '../../bin/common/usage.ts'
import { ospd } from '../../bin/ospdProgram.ts'
import { osp } from '../../bin/ospProgram.ts'
import { run } from '../support/commands.ts'
import { root } from '../support/source.ts'
import { spec } from '../support/spec.ts'
import { section } from './sections.ts'

spec('docs/cli.md', (it) => {
  for (const [program, { commands }] of [
    ['ospd', ospd],
    ['osp', osp],
  ] as const) {
    for (const { name } of commands) {
      it(`has the help of ${program} ${name}`, async () => {
        const { stdout } = await run(program, [name, '--help'])
        const printed = `\n\`\`\`text\n${stdout.replace(/[ \t]+$/gmu, '').trimEnd()}\n\`\`\`\n\n`
        assert.equal(await section('docs/cli.md', `${program} ${name}`, printed), printed)
      })
    }
  }

  it('has every exit code', () => {
    const page = readFileSync(`${root}/docs/cli.md`, 'utf8')
    const codes = [...page.matchAll(/^\| (\d+) \|/gmu)].map(([, code]) => Number(code))
    assert.deepEqual(codes, Object.values(exitCodes))
  })
})
