import { type ChildProcess, spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A process that a spec has started. Its output is kept; it is killed by its id, never by name. */
export interface Running extends AsyncDisposable {
  readonly child: ChildProcess
  readonly stdout: string
  readonly stderr: string
  /** Resolves when it has ended and all of its output was read. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  /** Resolves with the match when its stdout or stderr contains it; rejects if the process ends before. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
  kill(signal?: NodeJS.Signals): Promise<void>
}

interface PlaceOptions {
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  /** Whether it is in a separate process group, and so survives a kill of this one's. */
  readonly detached?: boolean
}

export interface StartOptions extends PlaceOptions {
  /** Options of Node, in front of the path of the program. */
  readonly node?: readonly string[]
  /** A wrapper command, with its arguments, that runs Node. */
  readonly under?: readonly string[]
}

/** The cache directory of commands; removed when this process exits. */
const ownCache = join(tmpdir(), `ospd-spec-cache-${process.pid}`)
process.once('exit', () => rmSync(ownCache, { recursive: true, force: true }))

/** Starts a program of this package (a path from the top of the repository) with this Node. */
export function startNode(path: string, args: readonly string[], options: StartOptions = {}): Running {
  const { node = [], under = [], ...place } = options
  const [command = process.execPath, ...line] = [...under, process.execPath, ...node, pathOf(path), ...args]
  return startCommand(command, line, place)
}

/** Returns the path of a file of this package; `path` is relative to the top of the repository. */
export const pathOf = (path: string): string => new URL(`../../${path}`, import.meta.url).pathname

/** Messages of a client about a slow server; on a busy machine any server can be slow. `printed` sees them. */
const slowAnswer = /^osp: waiting for \S+: no answer yet; .*\n/gmu

/** The environment of commands, with the cache directory of this process. */
export function commandEnvironment(more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const { FORCE_COLOR: _, ...env }: NodeJS.ProcessEnv = { ...process.env, XDG_CACHE_HOME: ownCache, ...more }
  return env
}

/** Starts any command. */
export function startCommand(command: string, args: readonly string[], options: PlaceOptions = {}): Running {
  const child = spawn(command, args, { ...options, env: commandEnvironment(options.env), stdio: 'pipe' })
  let stdout = ''
  let stderr = ''
  let gone = false
  const waiting = new Set<() => void>()
  const look = () => {
    for (const run of waiting) run()
  }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    look()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    look()
  })
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.on('close', (code, signal) => {
      gone = true
      look()
      resolve({ code, signal })
    })
  })
  const kill = async (signal: NodeJS.Signals = 'SIGKILL') => {
    child.kill(signal)
    await ended
  }
  return {
    child,
    ended,
    kill,
    get stdout() {
      return stdout
    },
    get stderr() {
      return stderr.replace(slowAnswer, '')
    },
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        const run = () => {
          const match = pattern.exec(stdout) ?? pattern.exec(stderr)
          if (match) resolve(match)
          else if (gone) reject(new Error(`it ended without printing ${pattern}:\n${stdout}${stderr}`))
          else return
          waiting.delete(run)
        }
        waiting.add(run)
        run()
      }),
    [Symbol.asyncDispose]: () => kill(),
  }
}
