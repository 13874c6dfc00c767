/**
 * `npm run simulate -- --seed N --runs M`: runs M worlds from seed N on, one line each. A run that fails is printed with
 * its whole trace, and the command ends with 1.
 */
import { createHash } from 'node:crypto'
import { parseArgs } from 'node:util'
import { nodeDigests } from '../lib/adapters/nodeDigests.ts'
import { simulate, type WorldKind } from '../lib/simulation/simulate.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    runs: { type: 'string', default: '1' },
    world: { type: 'string', default: 'both' },
    trace: { type: 'boolean' },
  },
})
const kinds: readonly string[] = ['files', 'messages', 'both'] satisfies WorldKind[]
if (!kinds.includes(values.world)) throw new RangeError(`--world is one of ${kinds.join(', ')}, not ${values.world}`)
const kind = values.world as WorldKind
const digests = nodeDigests()
let failed = 0
for (let seed = Number(values.seed); seed < Number(values.seed) + Number(values.runs); seed++) {
  const { steps, virtualMs, published, delivered, trace, failure } = await simulate(seed, digests, kind)
  const hash = createHash('sha256').update(trace.join('\n')).digest('hex').slice(0, 16)
  const done = `${published} published, ${delivered} delivered`
  const line = `seed ${seed}: ${steps} steps, ${(virtualMs / 1000).toFixed(1)} s, ${done}, trace ${hash}`
  if (failure || values.trace) console.log(trace.join('\n'))
  console.log(failure ? `${line}: FAILED: ${failure}` : line)
  if (failure) failed++
}
console.log(`${Number(values.runs) - failed} runs hold, ${failed} failed`)
process.exitCode = failed > 0 ? 1 : 0
