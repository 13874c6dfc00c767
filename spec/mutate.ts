/**
 * `npm run mutate [-- --runs N --only TEXT]`: takes each mend of `spec/simulation/mutations.ts`, or those whose fault or file
 * has this text, out of a copy of the sources, and
 * checks that the run of its seed, or its spec file, fails there and holds here. Where a seed does not, the first three up
 * to N (1000) that do are named. The command ends with 1 if a fault is not shown.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Mutation, mutated, mutations, nameOf, type Seed } from './simulation/mutations.ts'
import { root } from './support/source.ts'

const { values } = parseArgs({
  options: { runs: { type: 'string', default: '1000' }, only: { type: 'string', default: '' } },
})

const chosen = mutations.filter(({ fault, file }) => `${fault} ${file}`.includes(values.only))
if (chosen.length === 0) throw new Error(`no fault and no file of the mutations has: ${values.only}`)
const results = chosen.map(check)
const shown = results.filter(Boolean).length
console.log(`${shown} faults are shown, ${results.length - shown} are not`)
process.exitCode = shown === results.length ? 0 : 1

function check(mutation: Mutation): boolean {
  const copy = mkdtempSync(join(tmpdir(), 'ospd-mutated-'))
  try {
    for (const part of ['lib', 'spec', 'package.json', 'tsconfig.json']) {
      cpSync(join(root, part), join(copy, part), { recursive: true })
    }
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'), 'dir')
    writeFileSync(join(copy, mutation.file), mutated(mutation))
    const { fault, shownBy } = mutation
    const isShown = fails(copy, shownBy) && !fails(root, shownBy)
    console.log(`${isShown ? 'shown' : 'NOT SHOWN'}: ${fault}: ${nameOf(shownBy)}`)
    if (!isShown && typeof shownBy !== 'string') {
      for (const other of failures(copy, { ...shownBy, seed: 1 }, Number(values.runs))) console.log(`  ${other}`)
    }
    return isShown
  } finally {
    rmSync(copy, { recursive: true })
  }
}

function fails(directory: string, shownBy: Mutation['shownBy']): boolean {
  if (typeof shownBy !== 'string') return failures(directory, shownBy, 1).length > 0
  return run(directory, shownBy).status !== 0
}

/** The first runs that fail in a directory, with why: of `runs` from a seed on. */
function failures(directory: string, { world, seed }: Seed, runs: number): string[] {
  const { stdout, stderr } = run(
    directory,
    'spec/simulate.ts',
    '--world',
    world,
    '--seed',
    `${seed}`,
    '--runs',
    `${runs}`,
    '--lines',
    '--failures',
    '3',
  )
  if (!/ runs hold, \d+ failed\n$/u.test(stdout)) throw new Error(`the simulator did not come to its end: ${stderr}`)
  const failed = [...stdout.matchAll(/^(seed \d+): .*FAILED: (.*)$/gmu)]
  return failed.map(([, world, why]) => `${world}: ${why}`)
}

function run(cwd: string, ...program: string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, ['--import', 'tsx', ...program], { cwd, encoding: 'utf8', maxBuffer: 2 ** 30 })
}
