/**
 * `npm run fuzz -- --cases N --seed S --target NAME`: runs N cases from seed S against each target, or against NAME. A
 * failing case is printed with the command that repeats it, and the exit code is 1; `--bytes HEX` repeats a printed
 * case.
 */
import { parseArgs } from 'node:util'
import { fuzz, fuzzOnce } from './fuzz/fuzz.ts'
import { type TargetName, targets } from './fuzz/targets/index.ts'

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    target: { type: 'string' },
    bytes: { type: 'string' },
  },
})
const names = Object.keys(targets) as TargetName[]
const chosen = names.filter((name) => values.target === undefined || values.target === name)
if (chosen.length === 0) throw new RangeError(`--target is one of ${names.join(', ')}, not ${values.target}`)
const cases = Number(values.cases)

/** Heap bytes in use; garbage is excluded only with `--expose-gc`. */
function heapBytes(): number {
  global.gc?.()
  return process.memoryUsage().heapUsed
}

/** Bytes by which the heap may grow between a quarter of the cases and the end. */
const mostGrowth = 32 * 1024 * 1024

for (const name of chosen) {
  const began = performance.now()
  let early = 0
  const done = (count: number) => {
    if (count === Math.ceil(cases / 4)) early = heapBytes()
  }
  try {
    if (values.bytes !== undefined) await fuzzOnce(name, targets[name], values.bytes)
    else await fuzz(name, targets[name], { seed: Number(values.seed), cases, done })
    const seconds = (performance.now() - began) / 1_000
    const growth = values.bytes === undefined ? heapBytes() - early : 0
    const heap = `heap ${(growth / 1024 / 1024).toFixed(1)} MiB more`
    console.log(`${name}: ${cases} cases hold, ${seconds.toFixed(1)} s, ${heap}`)
    if (growth > mostGrowth) throw new Error('the heap grows with the number of cases')
  } catch (error) {
    console.log(`${name}: FAILED: ${(error as Error).message}`)
    if (error instanceof Error && error.cause instanceof Error) console.log(error.cause.stack)
    process.exitCode = 1
  }
}
