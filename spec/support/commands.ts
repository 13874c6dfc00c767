import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type Running, startNode } from './processes.ts'

/** A temporary directory, removed when it is disposed. */
export interface Place extends AsyncDisposable {
  readonly path: string
  /** Writes a file, and creates its parent folders. Resolves with its name. */
  write(name: string, content: string | Uint8Array): Promise<string>
}

export async function place(): Promise<Place> {
  const path = await mkdtemp(join(tmpdir(), 'ospd-spec-'))
  return {
    path,
    async write(name, content) {
      mkdirSync(dirname(join(path, name)), { recursive: true })
      await writeFile(join(path, name), content)
      return name
    },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  }
}

export interface CommandOptions {
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
  /** Its standard input. */
  readonly input?: string | Uint8Array
  /** A wrapper command, with its arguments. */
  readonly under?: readonly string[]
}

/** The default state directory of commands; removed when this process exits. */
export const ownState = join(tmpdir(), `ospd-spec-state-${process.pid}`)
process.once('exit', () => rmSync(ownState, { recursive: true, force: true }))

/** Starts `ospd` or `osp` as a process, without the settings in the environment of this process. */
export function start(program: 'ospd' | 'osp', args: readonly string[], options: CommandOptions = {}): Running {
  const settings = Object.keys(process.env).filter((name) => /^(?:OSPD?_|NO_COLOR$)/u.test(name))
  const env = { ...Object.fromEntries(settings.map((name) => [name, undefined])), OSP_STATE: ownState, ...options.env }
  const { cwd = tmpdir(), input, under = [] } = options
  const running = startNode(`dist/bin/${program}.js`, args, { env, cwd, under })
  if (input !== undefined) running.child.stdin?.end(input)
  return running
}

/** The output of a command, and its exit code. */
export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs `ospd` or `osp` until it exits. */
export async function run(
  program: 'ospd' | 'osp',
  args: readonly string[],
  options: CommandOptions = {},
): Promise<Outcome> {
  await using running = start(program, args, options)
  const { code } = await running.ended
  return { code, stdout: running.stdout, stderr: running.stderr }
}

export interface Daemon extends Running {
  readonly port: number
  /** `HOST:PORT` */
  readonly server: string
}

/** Starts `ospd serve` on a free port; resolves when it is ready. */
export async function daemon(data: string, flags: readonly string[] = [], options?: CommandOptions): Promise<Daemon> {
  const running = start('ospd', ['serve', '--port', '0', '--data', data, ...flags], options)
  const [, port] = await running.printed(/ready on 127\.0\.0\.1:(\d+)/u)
  return Object.assign(running, { port: Number(port), server: `127.0.0.1:${port}` })
}

/**
 * Returns a wrapper that adds one argument with these bytes, in the syntax of `printf`: an argument of a process that
 * Node starts is always UTF-8. `first` is a shell command to run before, and `piped` a shell command that follows in a
 * pipe.
 */
export function withBytes(argument: string, { first = ':', piped = '' } = {}): readonly string[] {
  return ['sh', '-c', `${first}; "$@" "$(printf '${argument}')" ${piped}`, 'sh']
}

/** Returns the JSON objects that a command has printed, without `progress`, whose number depends on time. */
export function events(stdout: string): readonly Record<string, unknown>[] {
  const lines = stdout.split('\n').filter(Boolean)
  const all = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  return all.filter(({ event }) => event !== 'progress')
}

/** Writes to the standard input of a process, and resolves when the data has left this process. */
export async function feed({ child }: Running, text: string): Promise<void> {
  if (child.stdin && !child.stdin.write(text)) await once(child.stdin, 'drain')
}

/** Returns whether a process waits for input on its stdin, which is a pipe; Linux only. */
export function readsStdin(pid: number | undefined): boolean {
  try {
    const numbers = readdirSync(`/proc/${pid}/fd`)
    return numbers.some((fd) => /^tfd:\s+0 /mu.test(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8')))
  } catch {
    return false
  }
}
