import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { runSpecs } from './runner.ts'

/**
 * Runs spec files: `run.ts [PATTERN]... [--long | --all] [--sources] [--at-once N] [--in DIRECTORY] [--limit-ms N]`. Without
 * PATTERN (regular expressions for paths) it runs all files except the long ones, whose names end with `.long.spec.ts`;
 * with PATTERN, all that match. `--long` runs only the long ones, and `--all` the long ones and then the others. The exit
 * code is 0 if at least one test ran and none failed.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    long: { type: 'boolean', default: false },
    all: { type: 'boolean', default: false },
    sources: { type: 'boolean', default: false },
    in: { type: 'string', default: resolve(import.meta.dirname, '..') },
    // Some files mostly wait.
    'at-once': { type: 'string', default: `${availableParallelism() + 2}` },
    'limit-ms': { type: 'string', default: '600000' },
  },
})

const interrupted = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => interrupted.abort())

process.exitCode = await runSpecs({
  directory: resolve(values.in),
  patterns: positionals,
  long: values.long,
  all: values.all,
  sources: values.sources,
  atOnce: Number(values['at-once']),
  limitMs: Number(values['limit-ms']),
  signal: interrupted.signal,
  print: console.log,
})
