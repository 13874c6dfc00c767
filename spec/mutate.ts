/**
 * `npm run mutate [-- --only TEXT --from N --to M --runs R]`: checks that the specs and the simulator find deliberate faults.
 *
 * For each mutation of `spec/mutate/` whose fault or file contains TEXT, and whose number is from N to M: applies it to a copy
 * of the sources, runs its seed or spec file there with and without it, and expects a failure only with it. For a seed that
 * does not fail, the first three failing seeds up to R (1000) are suggested. The end reports how many faults are shown, which
 * are not, and which mutations no longer have their place in the sources. Exits with 1 unless all are shown.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Mutation, mutatedFile, nameOf, type Seed } from './mutate/mutation.ts'
import { mutations } from './mutate/mutations.ts'
import { root } from './support/source.ts'

type Result = 'shown' | 'not shown' | 'place missing'

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    from: { type: 'string', default: '1' },
    to: { type: 'string', default: `${mutations.length}` },
    runs: { type: 'string', default: '1000' },
  },
})

const chosen = mutations
  .slice(Number(values.from) - 1, Number(values.to))
  .filter(({ fault, file }) => `${fault} ${file}`.includes(values.only))
if (chosen.length === 0) throw new Error('no mutation matches --only, --from and --to')
const copy = mkdtempSync(join(tmpdir(), 'ospd-mutated-'))
try {
  for (const part of ['lib', 'bin', 'spec', 'docs', 'package.json', 'tsconfig.json']) {
    cpSync(join(root, part), join(copy, part), { recursive: true })
  }
  for (const part of ['node_modules', 'dist']) symlinkSync(join(root, part), join(copy, part), 'dir')
  const results = chosen.map((mutation) => ({ mutation, result: check(mutation) }))
  report(results)
  process.exitCode = results.every(({ result }) => result === 'shown') ? 0 : 1
} finally {
  rmSync(copy, { recursive: true })
}

function check(mutation: Mutation): Result {
  const { fault, file, shownBy } = mutation
  const text = mutatedFile(copy, mutation)
  const original = text !== undefined && readFileSync(join(copy, file))
  if (!original) return tried('place missing', mutation)
  writeFileSync(join(copy, file), text)
  try {
    const isFound = fails(shownBy)
    writeFileSync(join(copy, file), original)
    if (isFound) return tried(fails(shownBy) ? 'not shown' : 'shown', mutation)
    tried('not shown', mutation)
    if (typeof shownBy === 'string') return 'not shown'
    writeFileSync(join(copy, file), text)
    const others = failures({ ...shownBy, seed: 1 }, Number(values.runs))
    console.log(others.length > 0 ? others.map((other) => `  ${other}`).join('\n') : `  no seed shows ${fault}`)
    return 'not shown'
  } finally {
    writeFileSync(join(copy, file), original)
  }
}

function tried(result: Result, { fault, shownBy }: Mutation): Result {
  console.log(`${result}: ${fault}: ${nameOf(shownBy)}`)
  return result
}

/** Prints the counts, then every mutation that is not shown. */
function report(results: readonly { mutation: Mutation; result: Result }[]): void {
  const of = (wanted: Result) => results.filter(({ result }) => result === wanted).map(({ mutation }) => mutation)
  console.log(
    `\n${of('shown').length} shown, ${of('not shown').length} not shown, ${of('place missing').length} without place`,
  )
  for (const { fault, shownBy } of of('not shown')) console.log(`not shown: ${fault}: ${nameOf(shownBy)}`)
  for (const { fault, file, within, pattern } of of('place missing')) {
    console.log(`place missing: ${fault}: ${file}, ${within}: ${pattern}`)
  }
}

/** Returns whether the seed or the spec file fails in the unchanged copy. */
function fails(shownBy: Mutation['shownBy']): boolean {
  if (typeof shownBy !== 'string') return failures(shownBy, 1).length > 0
  return run(shownBy).status !== 0
}

/** Returns the first failing runs in the copy, up to three of `runs` runs from a seed, each with its failure. */
function failures({ world, seed }: Seed, runs: number): string[] {
  const options = { world, seed, runs, failures: 3 }
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, `${value}`])
  const { stdout, stderr } = run('spec/simulate.ts', '--lines', ...args)
  // A mutation can end the whole process, which also counts as found.
  if (!/ runs hold, \d+ failed\n$/u.test(stdout)) return [`the simulator ended early: ${stderr.trim().slice(-200)}`]
  const failed = [...stdout.matchAll(/^(seed \d+): .*FAILED: (.*)$/gmu)]
  return failed.map(([, name, failure]) => `${name}: ${failure}`)
}

function run(...program: string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, ['--import', 'tsx', ...program], {
    cwd: copy,
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
    timeout: 600_000,
  })
}
