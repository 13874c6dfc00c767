/**
 * `npm run soak:cluster -- --uploads N --messages N --rounds N --seed S`: runs three servers of a cluster as processes while
 * servers are killed and frozen, sending and receiving programs are killed, the database crashes and connections break. Checks that nothing acknowledged is lost. Prints
 * each fault, the seed and the verdict; exits with 1 if a guarantee is violated.
 */
import { parseArgs } from 'node:util'
import { soak, soakFaults } from './soak.ts'

const { values } = parseArgs({
  options: {
    uploads: { type: 'string', default: '50' },
    messages: { type: 'string', default: '10000' },
    rounds: { type: 'string', default: '20' },
    listeners: { type: 'string', default: '40' },
    seed: { type: 'string', default: '1' },
  },
})
// The servers and the database end when this process exits.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130))

const seed = Number(values.seed)
const began = performance.now()
const violations = await soak({
  seed,
  uploads: Number(values.uploads),
  messages: Number(values.messages),
  rounds: Number(values.rounds),
  listeners: Number(values.listeners),
  faults: soakFaults,
  print: console.log,
})
for (const violation of violations.slice(0, 50)) console.log(`VIOLATION: ${violation}`)
const seconds = ((performance.now() - began) / 1_000).toFixed(0)
console.log(`seed ${seed}, ${values.rounds} rounds, ${seconds} s: ${violations.length} violations`)
// An open handle must not keep the process alive.
process.exit(violations.length > 0 ? 1 : 0)
