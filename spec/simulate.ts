/**
 * `npm run simulate -- --seed N --runs M`: runs M worlds from seed N, one line each. The first failing run is reduced
 * by leaving out everything that the failure does not need, and the rest is printed with the command that repeats it.
 * Exits with 1 if a run fails.
 */
import { createHash } from 'node:crypto'
import { parseArgs } from 'node:util'
import { nodeDigests } from '../lib/adapters/node/nodeDigests.ts'
import { shrink } from './simulation/shrink.ts'
import { type Part, type RunReport, type SimulatedKind, simulate } from './simulation/simulate.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    runs: { type: 'string', default: '1' },
    world: { type: 'string', default: 'both' },
    /** Runs only the actions with these numbers, and leaves out these programs, files and faults. */
    only: { type: 'string' },
    without: { type: 'string', default: '' },
    trace: { type: 'boolean' },
    /** Prints a failing run in one line, as other runs; stops after this many failures. */
    lines: { type: 'boolean' },
    failures: { type: 'string', default: '1000000' },
  },
})
const kinds: readonly string[] = [
  'files',
  'messages',
  'both',
  'cluster-files',
  'cluster-messages',
  'cluster-both',
] satisfies SimulatedKind[]
if (!kinds.includes(values.world)) throw new RangeError(`--world is one of ${kinds.join(', ')}, not ${values.world}`)
const kind = values.world as SimulatedKind
const part: Part = {
  actions: values.only === undefined ? undefined : values.only.split(',').filter(Boolean).map(Number),
  without: values.without.split(',').filter(Boolean),
}
const digests = nodeDigests()
let ran = 0
let failed = 0
for (let seed = Number(values.seed); seed < Number(values.seed) + Number(values.runs); seed++) {
  const report = await simulate(seed, digests, kind, part)
  ran++
  if (values.trace) console.log(report.trace.join('\n'))
  console.log(lineOf(report))
  if (report.failure && failed++ === 0 && !values.lines) await explain(report)
  if (failed >= Number(values.failures)) break
}
console.log(`${ran - failed} runs hold, ${failed} failed`)
process.exitCode = failed > 0 ? 1 : 0

function lineOf({ seed, steps, virtualMs, published, delivered, trace, failure }: RunReport): string {
  const hash = createHash('sha256').update(trace.join('\n')).digest('hex').slice(0, 16)
  const done = `${published} published, ${delivered} delivered`
  const line = `seed ${seed}: ${steps} steps, ${(virtualMs / 1000).toFixed(1)} s, ${done}, trace ${hash}`
  return failure ? `${line}: FAILED: ${failure}` : line
}

/** Prints the smallest part that fails as this run does. */
async function explain(report: RunReport): Promise<void> {
  const { seed } = report
  const least = await shrink(report, part, (smaller) => simulate(seed, digests, kind, smaller))
  console.log(`\n${least.report.trace.join('\n')}\n`)
  console.log(`${least.runs} runs have made it smaller: ${lineOf(least.report)}`)
  const { actions = [], without } = least.part
  const left = without.length > 0 ? ` --without '${without.join(',')}'` : ''
  console.log(`npm run simulate -- --world ${kind} --seed ${seed} --only '${actions.join(',')}'${left}\n`)
}
