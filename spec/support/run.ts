import { readdirSync } from 'node:fs'
import { join, relative, resolve, sep } from 'node:path'
import { parseArgs } from 'node:util'
import { type Result, runSpecFile } from './specFile.ts'

/**
 * Runs the spec files whose path matches PATTERN (a regular expression; all without one), each in a process
 * of its own: `run.ts [PATTERN] [--in DIRECTORY] [--limit-ms N]`. The last line is `N passed, N failed`,
 * with `, N skipped` if any were; the exit code is 0 if facts were proved and none failed.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    in: { type: 'string', default: resolve(import.meta.dirname, '..') },
    'limit-ms': { type: 'string', default: '600000' },
  },
})

const atOnce = 2

const interrupted = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => interrupted.abort())

const directory = resolve(values.in)
const files = specFiles(directory, new RegExp(positionals.join('|'), 'u'))
if (files.length === 0) console.log(`no spec file in ${shown(directory)} matches ${positionals.join(' ')}`)

const results: Result[] = []
const waiting = files.values()
await Promise.all(Array.from({ length: atOnce }, runWaiting))

const passed = sum((result) => result.passed)
const failed = sum((result) => result.failed)
const skipped = sum((result) => result.skipped)
process.exitCode = failed === 0 && passed > 0 && results.length === files.length ? 0 : 1
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)

async function runWaiting(): Promise<void> {
  for (const file of waiting) {
    if (interrupted.signal.aborted) return
    const result = await runSpecFile(file, Number(values['limit-ms']), interrupted.signal)
    results.push(result)
    report(shown(file), result)
  }
}

function report(name: string, { passed, failed, skipped, seconds, fault, output }: Result): void {
  const counts = [`${passed} passed`, failed > 0 && `${failed} failed`, skipped > 0 && `${skipped} skipped`]
  console.log(`${failed > 0 ? 'FAIL' : 'ok  '} ${name} (${counts.filter(Boolean).join(', ')}, ${seconds.toFixed(1)} s)`)
  if (failed > 0) console.log(output.trimEnd())
  if (fault !== undefined) console.log(`${name}: ${fault}`)
}

function specFiles(directory: string, pattern: RegExp): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => join(directory, name))
    .filter((path) => path.endsWith('.spec.ts') && pattern.test(shown(path)))
    .sort()
}

function shown(path: string): string {
  return relative(process.cwd(), path).split(sep).join('/')
}

function sum(count: (result: Result) => number): number {
  return results.reduce((total, result) => total + count(result), 0)
}
