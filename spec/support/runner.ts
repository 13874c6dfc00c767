import { readdirSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import { type Compiled, compile } from './compiled.ts'
import { type Result, runSpecFile } from './specFile.ts'

export interface RunOptions {
  /** The directory of the spec files. */
  readonly directory: string
  /**
   * Regular expressions; a spec file runs if its path matches one of them. If there are none, all except the long ones
   * run.
   */
  readonly patterns?: readonly string[]
  /** Run only the long ones. */
  readonly long?: boolean
  /** Run the sources, slowly: coverage counts their lines. */
  readonly sources?: boolean
  /** Number of files that run at the same time. */
  readonly atOnce?: number
  /** Time limit of a file. */
  readonly limitMs?: number
  /** Aborting it ends the run early, as a failure. */
  readonly signal?: AbortSignal
  print(text: string): void
}

/**
 * Runs each spec file in its own process, and resolves with the exit code: 0 if at least one test ran and none failed.
 * The last printed line is `N passed, N failed`, with `, N skipped` if any were.
 */
export async function runSpecs(options: RunOptions): Promise<number> {
  const { atOnce = 2, limitMs = 600_000, signal = new AbortController().signal, print } = options
  const files = specFiles(options)
  if (files.length === 0) print(`no spec file in ${shown(options.directory)} matches ${options.patterns?.join(' ')}`)
  using programs = options.sources ? inPlace : await programsOf(files, print)
  const results: Result[] = []
  const waiting = files.values()
  const runWaiting = async () => {
    for (const file of waiting) {
      if (signal.aborted) return
      const result = await runSpecFile(programs.of(file), limitMs, signal)
      results.push(result)
      report(shown(file), result, print)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, runWaiting))
  const [passed, failed, skipped] = (['passed', 'failed', 'skipped'] as const).map((count) =>
    results.reduce((total, result) => total + result[count], 0),
  ) as [number, number, number]
  print(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  return failed === 0 && passed > 0 && results.length === files.length ? 0 : 1
}

const inPlace: Compiled = { of: (source) => source, [Symbol.dispose]: () => {} }

/**
 * Returns the compiled files. If one of them does not compile, all run from their sources, so that only that one fails.
 */
async function programsOf(files: readonly string[], print: (text: string) => void): Promise<Compiled> {
  try {
    return await compile(files)
  } catch (error) {
    print(`the specs are run without being compiled: ${error instanceof Error ? error.message : error}`)
    return inPlace
  }
}

function report(name: string, result: Result, print: (text: string) => void): void {
  const { passed, failed, skipped, seconds, fault, output } = result
  const counts = [`${passed} passed`, failed > 0 && `${failed} failed`, skipped > 0 && `${skipped} skipped`]
  print(`${failed > 0 ? 'FAIL' : 'ok  '} ${name} (${counts.filter(Boolean).join(', ')}, ${seconds.toFixed(1)} s)`)
  if (failed > 0) print(output.trimEnd())
  if (fault !== undefined) print(`${name}: ${fault}`)
}

function specFiles({ directory, patterns = [], long = false }: RunOptions): string[] {
  const matches = new RegExp(patterns.join('|'), 'u')
  const isLong = (path: string) => path.endsWith('.long.spec.ts')
  const isWanted = long ? isLong : (path: string) => patterns.length > 0 || !isLong(path)
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => join(directory, name))
    .filter((path) => path.endsWith('.spec.ts') && isWanted(path) && matches.test(shown(path)))
    .sort()
}

function shown(path: string): string {
  return relative(process.cwd(), path).split(sep).join('/')
}
