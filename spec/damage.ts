/**
 * `npm run damage -- --only flips|kills|cuts --runs N --seed S`: damages data directories as disks, crashes and power
 * failures do, and checks that a server started there returns everything that was acknowledged. Prints a table of each
 * kind of damage, and a line for each failing case; exits with 1 if there is one.
 */
import { parseArgs } from 'node:util'
import { cutColumns, cuts, isBadCut } from './damage/cuts.ts'
import { flipColumns, flips, isBadFlip } from './damage/flips.ts'
import { isBadKill, killColumns, kills } from './damage/kills.ts'
import { type Row, tableOf } from './damage/table.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    /** Numbers of positions in each kind of file, of kills, and of power failures. */
    runs: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
  },
})
const options = { seed: Number(values.seed), runs: Number(values.runs), print: console.log }

interface Kind {
  readonly columns: readonly string[]
  readonly isBad: (column: string) => boolean
  run(): Promise<Row[]>
}

const kinds: Readonly<Record<string, Kind>> = {
  flips: { columns: flipColumns, isBad: isBadFlip, run: () => flips({ ...options, daemonEvery: 20 }) },
  kills: { columns: killColumns, isBad: isBadKill, run: () => kills(options) },
  cuts: { columns: cutColumns, isBad: isBadCut, run: () => cuts(options) },
}
if (values.only !== undefined && !(values.only in kinds)) {
  throw new RangeError(`--only is one of ${Object.keys(kinds).join(', ')}, not ${values.only}`)
}

for (const [name, { columns, isBad, run }] of Object.entries(kinds)) {
  if (values.only !== undefined && values.only !== name) continue
  const began = performance.now()
  const rows = await run()
  console.log(
    `\n${name}, seed ${options.seed}, ${((performance.now() - began) / 1_000).toFixed(0)} s\n${tableOf(rows, columns)}\n`,
  )
  if (rows.some(({ counts }) => [...counts.keys()].some(isBad))) process.exitCode = 1
}
// An open handle must not keep the process alive.
process.exit()
