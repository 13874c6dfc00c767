/**
 * `npm run mutate [-- --only TEXT --from N --to M --runs R]`: checks that the specs and the simulator find deliberate faults.
 *
 * For each mutation of `spec/mutate/` whose fault or file contains TEXT, and whose number is from N to M: applies it to a copy
 * of the sources and runs its spec file there, or its worlds from seed 1 until a run fails, up to R (1000) runs. The fault is
 * shown if the same spec or seed holds without the mutation. The end reports how many faults are shown, which are not, and
 * which mutations no longer have their place in the sources. Exits with 1 unless all are shown.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Mutation, mutatedFile } from './mutate/mutation.ts'
import { mutations } from './mutate/mutations.ts'
import type { SimulatedKind } from './simulation/simulate.ts'
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
  const printed = (result: Result, by: string) => {
    console.log(`${result}: ${fault}: ${by}`)
    return result
  }
  if (!original) return printed('place missing', file)
  writeFileSync(join(copy, file), text)
  const failure = isSpec(shownBy) ? specFailure(shownBy) : worldFailure(shownBy)
  writeFileSync(join(copy, file), original)
  if (!failure) return printed('not shown', shownBy)
  return printed(failure.holds() ? 'shown' : 'not shown', failure.name)
}

/** What failed with a mutation. */
interface Failure {
  readonly name: string
  /** Returns whether the same spec or seed holds in the unchanged copy. */
  holds(): boolean
}

function isSpec(shownBy: Mutation['shownBy']): shownBy is `spec/${string}` {
  return shownBy.startsWith('spec/')
}

function specFailure(file: string): Failure | undefined {
  if ((run(file).status ?? 0) === 0) return undefined
  return { name: file, holds: () => run(file).status === 0 }
}

/** Returns the first failing run of a kind of worlds. */
function worldFailure(world: SimulatedKind): Failure | undefined {
  const simulated = (seed: number, runs: number) =>
    run('spec/simulate.ts', '--lines', '--failures', '1', '--world', world, '--seed', `${seed}`, '--runs', `${runs}`)
  const { stdout, stderr, status } = simulated(1, Number(values.runs))
  const [, failed, reason] = /^seed (\d+): .*FAILED: (.*)$/mu.exec(stdout) ?? []
  // A mutation can end the whole process, which also counts as found: by the run after the last printed one. Without a status
  // the process ran into the time limit, which shows nothing.
  const isEnded = failed === undefined && status !== null && !/ runs hold, 0 failed\n$/u.test(stdout)
  if (failed === undefined && !isEnded) return undefined
  const seed = Number(failed ?? stdout.match(/^seed /gmu)?.length ?? 0) + (isEnded ? 1 : 0)
  return {
    name: `seed ${seed} of ${world}: ${reason ?? `the simulator ended: ${stderr.trim().slice(-200)}`}`,
    holds: () => simulated(seed, 1).status === 0,
  }
}

/** Prints the counts, then every mutation that is not shown. */
function report(results: readonly { mutation: Mutation; result: Result }[]): void {
  const of = (wanted: Result) => results.filter(({ result }) => result === wanted).map(({ mutation }) => mutation)
  console.log(
    `\n${of('shown').length} shown, ${of('not shown').length} not shown, ${of('place missing').length} without place`,
  )
  for (const { fault, shownBy } of of('not shown')) console.log(`not shown: ${fault}: ${shownBy}`)
  for (const { fault, file, within, pattern } of of('place missing')) {
    console.log(`place missing: ${fault}: ${file}, ${within}: ${pattern}`)
  }
}

function run(...program: string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, ['--import', 'tsx', ...program], {
    cwd: copy,
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
    timeout: 1_800_000,
  })
}
