import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname, join, relative, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build, type Plugin } from 'esbuild'
import { runVariable, stopSharedPostgres } from './postgresServer.ts'
import { root } from './source.ts'

/** The result of one spec file. */
interface Result {
  readonly passed: number
  /** Number of failed tests, plus one if there is a `fault`. */
  readonly failed: number
  readonly skipped: number
  readonly seconds: number
  /** Why the whole file failed, whatever its tests did. */
  readonly fault: string | undefined
  /** The end of its output, at most `outputChars`. */
  readonly output: string
}

interface Ending {
  readonly code: number | null
  readonly killedBy: string | undefined
  readonly output: string
}

const outputChars = 1_000_000

/** Time within which a file must exit after its tests. */
const leavingMs = 120_000

/** Maximum wait for output pipes that a process outside of the group keeps open. */
const pipesMs = 120_000

const totals = /^ {2}Total: +(\d+)\n {2}Passed: +(\d+)\n {2}Skipped: +(\d+)\n {2}Duration: /gmu

/**
 * Runs one spec file, a source or its compiled form, in its own process group, which has ended when the promise
 * resolves. Aborting `signal` ends it early.
 */
async function runSpecFile(path: string, limitMs: number, signal: AbortSignal): Promise<Result> {
  const began = performance.now()
  const ending = await ended(start(path), limitMs, signal)
  const counted = [...ending.output.matchAll(totals)].at(-1)
  const [total, passed, skipped] = counted ? counted.slice(1).map(Number) : []
  const wrong = (total ?? 0) - (passed ?? 0)
  const fault = faultOf(ending, counted !== undefined, (total ?? 0) + (skipped ?? 0), wrong)
  return {
    passed: passed ?? 0,
    failed: wrong + (fault === undefined ? 0 : 1),
    skipped: skipped ?? 0,
    seconds: (performance.now() - began) / 1000,
    fault,
    output: ending.output,
  }
}

function faultOf(ending: Ending, counted: boolean, tests: number, wrong: number): string | undefined {
  if (ending.killedBy) return ending.killedBy
  if (!counted) return `it ended with ${ending.code ?? 'a signal'} before its tests had run`
  if (tests === 0) return 'it has no tests'
  if (ending.code !== 0 && wrong === 0) return `it ended with ${ending.code ?? 'a signal'} although its tests passed`
  return undefined
}

function start(path: string): ChildProcess {
  const { FORCE_COLOR: _, ...env } = process.env
  const node = path.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : ['--enable-source-maps']
  return spawn(process.execPath, [...node, path], {
    detached: true,
    env: { [runVariable]: String(process.pid), ...env, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

function ended(child: ChildProcess, limitMs: number, signal: AbortSignal): Promise<Ending> {
  return new Promise((resolve, reject) => {
    let output = ''
    let killedBy: string | undefined
    const kill = (why: string) => {
      killedBy ??= why
      killGroup(child)
    }
    const limit = setTimeout(kill, limitMs, `timed out: it did not end within ${limitMs} ms`)
    let leaving: NodeJS.Timeout | undefined
    const stop = () => kill('it was interrupted')
    signal.addEventListener('abort', stop)

    const take = (chunk: string) => {
      output = (output + chunk).slice(-outputChars)
      if (chunk.includes('  Duration: ')) {
        leaving ??= setTimeout(
          kill,
          leavingMs,
          'timed out: its tests have run, but something that it left open keeps it from ending',
        )
      }
    }
    child.stdout?.setEncoding('utf8').on('data', take)
    child.stderr?.setEncoding('utf8').on('data', take)
    child.once('error', reject)
    child.once('exit', (code) => {
      clearTimeout(limit)
      clearTimeout(leaving)
      signal.removeEventListener('abort', stop)
      killGroup(child)
      const finish = () => resolve({ code, killedBy, output })
      const pipes = setTimeout(finish, pipesMs)
      child.once('close', () => {
        clearTimeout(pipes)
        finish()
      })
    })
  })
}

/** Kills the process of the file and all processes in its group. */
function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}

/** Programs compiled from TypeScript sources, in a directory of this process that is removed on disposal. */
interface Compiled extends Disposable {
  /** Returns the path of the program compiled from this source. */
  of(source: string): string
}

/**
 * Below the repository, because a program finds packages, and this package by its name, only there. One directory per
 * run.
 */
const directory = join(root, '.specs')

/**
 * Compiles sources in one pass of about a second. Each program then starts in a third of the time that tsx needs.
 * `import.meta` contains the path of the source. Rejects if a source does not compile.
 */
async function compile(sources: readonly string[]): Promise<Compiled> {
  const own = join(directory, String(process.pid))
  const dispose = () => rmSync(own, { recursive: true, force: true })
  await mkdir(directory, { recursive: true })
  removeAbandoned()
  dispose()
  try {
    await build({
      entryPoints: sources.map((source) => ({ in: source, out: outputOf(source) })),
      absWorkingDir: root,
      outdir: own,
      bundle: true,
      splitting: true,
      packages: 'external',
      platform: 'node',
      format: 'esm',
      target: 'node20.19',
      sourcemap: 'linked',
      sourcesContent: false,
      logLevel: 'silent',
      plugins: [asInPlace],
    })
  } catch (error) {
    dispose()
    throw error
  }
  return { of: (source) => join(own, `${outputOf(source)}.js`), [Symbol.dispose]: dispose }
}

const outputOf = (source: string) => relative(root, source).replaceAll('..', '_').replace(/\.ts$/u, '')

/** Replaces the expressions for the path of a source, and resolves imports by URL. */
const asInPlace: Plugin = {
  name: 'as in place',
  setup(build) {
    build.onResolve({ filter: /^file:/ }, ({ path }) => ({ path: fileURLToPath(path) }))
    build.onLoad({ filter: /\.ts$/ }, ({ path }) => ({
      loader: 'ts',
      contents: readFileSync(path, 'utf8')
        .replaceAll('import.meta.dirname', JSON.stringify(dirname(path)))
        .replaceAll('import.meta.filename', JSON.stringify(path))
        .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href)),
    }))
  },
}

/** Removes the directories that killed runs have left behind. */
function removeAbandoned(): void {
  for (const name of readdirSync(directory)) {
    try {
      process.kill(Number(name), 0)
    } catch {
      rmSync(join(directory, name), { recursive: true, force: true })
    }
  }
}

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
  /** Run all files, the long ones first, so that the last ones are short. */
  readonly all?: boolean
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
  try {
    await Promise.all(Array.from({ length: atOnce }, runWaiting))
  } finally {
    await stopSharedPostgres(process.pid)
  }
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

function specFiles({ directory, patterns = [], long = false, all = false }: RunOptions): string[] {
  const matches = new RegExp(patterns.join('|'), 'u')
  const isLong = (path: string) => path.endsWith('.long.spec.ts')
  const isWanted = long ? isLong : (path: string) => all || patterns.length > 0 || !isLong(path)
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => join(directory, name))
    .filter((path) => path.endsWith('.spec.ts') && isWanted(path) && matches.test(shown(path)))
    .sort()
  return all ? [...files.filter(isLong), ...files.filter((path) => !isLong(path))] : files
}

function shown(path: string): string {
  return relative(process.cwd(), path).split(sep).join('/')
}
