import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { exitCodes } from '../../bin/common/usage.ts'
import { run } from '../support/commands.ts'
import { root } from '../support/source.ts'
import { spec } from '../support/spec.ts'
import { section } from './sections.ts'

spec('docs/cli.md', (it) => {
  for (const [program, command] of [
    ['ospd', 'serve'],
    ['ospd', 'status'],
    ['ospd', 'uploads'],
    ['ospd', 'user'],
    ['ospd', 'cluster'],
    ['osp', 'send'],
    ['osp', 'get'],
    ['osp', 'ls'],
    ['osp', 'rm'],
    ['osp', 'mv'],
    ['osp', 'tasks'],
    ['osp', 'add'],
    ['osp', 'pause'],
    ['osp', 'continue'],
    ['osp', 'cancel'],
    ['osp', 'msg'],
    ['osp', 'outbox'],
    ['osp', 'inbox'],
    ['osp', 'listen'],
    ['osp', 'who'],
    ['osp', 'login'],
    ['osp', 'logout'],
    ['osp', 'context'],
  ] as const) {
    it(`has the help of ${program} ${command}`, async () => {
      const { stdout } = await run(program, [command, '--help'])
      const printed = `\n\`\`\`text\n${stdout.replace(/[ \t]+$/gmu, '').trimEnd()}\n\`\`\`\n\n`
      assert.equal(await section('docs/cli.md', `${program} ${command}`, printed), printed)
    })
  }

  it('has every exit code', () => {
    const page = readFileSync(`${root}/docs/cli.md`, 'utf8')
    const codes = [...page.matchAll(/^\| (\d+) \|/gmu)].map(([, code]) => Number(code))
    assert.deepEqual(codes, Object.values(exitCodes))
  })
})
