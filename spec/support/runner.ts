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
 * Runs one spec file with these arguments of Node, in its own process group, which has ended when the promise resolves.
 * Aborting `signal` ends it early.
 */
async function runSpecFile(args: readonly string[], limitMs: number, signal: AbortSignal): Promise<Result> {
  const began = performance.now()
  const ending = await ended(start(args), limitMs, signal)
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

function start(args: readonly string[]): ChildProcess {
  const { FORCE_COLOR: _, ...env } = process.env
  return spawn(process.execPath, args, {
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

/** Spec files that can be run. Disposal removes what was made for it. */
interface Programs extends Disposable {
  /** Returns the arguments of Node that run this spec file. */
  argsOf(file: string): readonly string[]
}

/**
 * Below the repository, because a program finds packages, and this package by its name, only there. One directory per
 * run.
 */
const directory = join(root, '.specs')

/** Packages that are bundled, because Node takes longer to load their many files. */
const bundled: readonly string[] = ['cli-progress', 'eventemitter3', 'fast-check', 'hash-wasm', 'pg', 'uvu', 'zod']

/**
 * Bundles the spec files of each directory, with all modules that they use, into one program, which runs the file that
 * its argument names. Such a program starts in half the time that Node needs to load the modules one by one.
 * `import.meta` contains the path of the source. Rejects if a source does not compile.
 */
async function compile(files: readonly string[]): Promise<Programs> {
  const own = join(directory, String(process.pid))
  const dispose = () => rmSync(own, { recursive: true, force: true })
  await mkdir(directory, { recursive: true })
  removeAbandoned()
  dispose()
  try {
    await build({
      entryPoints: [...new Set(files.map((file) => dirname(file)))].map((path) => ({
        in: `${specsOf}${path}`,
        out: outputOf(path),
      })),
      absWorkingDir: root,
      outdir: own,
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20.19',
      // Packages in CommonJS require modules of Node.
      banner: {
        js: `import * as nodeModule from 'node:module'; const require = nodeModule.createRequire('${root}/');`,
      },
      sourcemap: 'linked',
      sourcesContent: false,
      logLevel: 'silent',
      plugins: [makePrograms(files), asInPlace],
    })
  } catch (error) {
    dispose()
    throw error
  }
  const argsOf = (file: string) => ['--enable-source-maps', join(own, `${outputOf(dirname(file))}.js`), file]
  return { argsOf, [Symbol.dispose]: dispose }
}

const outputOf = (path: string) => relative(root, path).replaceAll('..', '_')

/** Begins the name of the program for the spec files of a directory. */
const specsOf = 'specs of '

/** Makes the program for each directory, and determines which packages are bundled. */
const makePrograms = (files: readonly string[]): Plugin => ({
  name: 'programs',
  setup(build) {
    build.onResolve({ filter: new RegExp(`^${specsOf}`) }, ({ path }) => ({
      path: path.slice(specsOf.length),
      namespace: 'program',
    }))
    build.onLoad({ filter: /.*/, namespace: 'program' }, ({ path }) => {
      const imports = files.filter((file) => dirname(file) === path).map((file) => JSON.stringify(file))
      const contents = `await ({ ${imports.map((file) => `${file}: () => import(${file})`)} })[process.argv[2]]()`
      return { contents, resolveDir: root }
    })
    build.onResolve({ filter: /^[^./]/ }, ({ path, kind, importer }) => {
      if (kind === 'entry-point' || /^file:/u.test(path)) return undefined
      const isBundled = importer.includes('/node_modules/')
        ? !/^pg-(?:native|cloudflare)/u.test(path)
        : bundled.includes(path)
      return isBundled ? undefined : { path, external: true }
    })
  },
})

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
      const result = await runSpecFile(programs.argsOf(file), limitMs, signal)
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

const inPlace: Programs = {
  argsOf: (file) => ['--import', import.meta.resolve('tsx'), file],
  [Symbol.dispose]: () => {},
}

/**
 * Returns the compiled files. If one of them does not compile, all run from their sources, so that only that one fails.
 */
async function programsOf(files: readonly string[], print: (text: string) => void): Promise<Programs> {
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
