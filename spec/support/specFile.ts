import { type ChildProcess, spawn } from 'node:child_process'

/** The result of one spec file. */
export interface Result {
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
export async function runSpecFile(path: string, limitMs: number, signal: AbortSignal): Promise<Result> {
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
    env: { ...env, NO_COLOR: '1' },
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
