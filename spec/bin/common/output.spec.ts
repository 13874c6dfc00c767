import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { place } from '../../support/commands.ts'
import { pathOf } from '../../support/processes.ts'
import { spec } from '../../support/spec.ts'

/** Prints a result in each of two turns of the event loop, and is killed in the next one. */
const program = `
  import { results } from ${JSON.stringify(pathOf('bin/common/output.ts'))}
  results.line('first')
  setImmediate(() => {
    results.line('second')
    results.line('third')
    setImmediate(() => process.kill(process.pid, 'SIGKILL'))
  })
`

spec('the results of a command', (it) => {
  it('are printed in the turn in which they are known, before a later turn records that they are', async () => {
    await using files = await place()
    const path = join(files.path, 'out')
    const out = openSync(path, 'w')
    const node = ['--import', import.meta.resolve('tsx'), '--input-type=module', '-e', program]
    const { signal, stdout } = spawnSync(process.execPath, node, { stdio: ['ignore', 'pipe', 'inherit'] })
    assert.deepEqual([signal, `${stdout}`], ['SIGKILL', 'first\nsecond\nthird\n'])
    spawnSync(process.execPath, node, { stdio: ['ignore', out, 'inherit'] })
    closeSync(out)
    assert.equal(readFileSync(path, 'utf8'), 'first\nsecond\nthird\n')
  })
})
