import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type Running, startNode } from './processes.ts'

/** A temporary directory, gone when it is disposed of. */
export interface Place extends AsyncDisposable {
  readonly path: string
  /** Writes a file, making the folders above it; resolves with its name. */
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
  /** What it reads from its standard input. */
  readonly input?: string | Uint8Array
  /** A command, with its arguments, that runs it. */
  readonly under?: readonly string[]
}

/** Where commands keep what they have to remember unless they are told another place: gone when this process is. */
export const ownState = join(tmpdir(), `ospd-spec-state-${process.pid}`)
process.once('exit', () => rmSync(ownState, { recursive: true, force: true }))

/** Starts `ospd` or `osp` as a process, without this user's settings for them. */
export function start(program: 'ospd' | 'osp', args: readonly string[], options: CommandOptions = {}): Running {
  const settings = Object.keys(process.env).filter((name) => /^(?:OSPD?_|NO_COLOR$)/u.test(name))
  const env = { ...Object.fromEntries(settings.map((name) => [name, undefined])), OSP_STATE: ownState, ...options.env }
  const { cwd = tmpdir(), input, under = [] } = options
  const running = startNode(`dist/bin/${program}.js`, args, { env, cwd, under })
  if (input !== undefined) running.child.stdin?.end(input)
  return running
}

/** What a command has printed, and its exit code. */
export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs `ospd` or `osp` to its end. */
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

/** Starts `ospd serve` on a free port; resolves when it can be used. */
export async function daemon(data: string, flags: readonly string[] = [], options?: CommandOptions): Promise<Daemon> {
  const running = start('ospd', ['serve', '--port', '0', '--data', data, ...flags], options)
  const [, port] = await running.printed(/ready on 127\.0\.0\.1:(\d+)/u)
  return Object.assign(running, { port: Number(port), server: `127.0.0.1:${port}` })
}

/**
 * What to run a command under so that it has one more argument, of these bytes in the syntax of `printf`: an argument of a process
 * that Node starts is always UTF-8. `first` is a shell command to run before, `piped` one that follows it in a pipe.
 */
export function withBytes(argument: string, { first = ':', piped = '' } = {}): readonly string[] {
  return ['sh', '-c', `${first}; "$@" "$(printf '${argument}')" ${piped}`, 'sh']
}

/** The JSON objects that a command has printed, without `progress`: how many of those there are depends on time. */
export function events(stdout: string): readonly Record<string, unknown>[] {
  const lines = stdout.split('\n').filter(Boolean)
  const all = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  return all.filter(({ event }) => event !== 'progress')
}

/** Writes to the standard input of a process, and resolves when it has left this one. */
export async function feed({ child }: Running, text: string): Promise<void> {
  if (child.stdin && !child.stdin.write(text)) await once(child.stdin, 'drain')
}

/** Whether a process waits for more on its stdin, which is a pipe; on Linux only. */
export function readsStdin(pid: number | undefined): boolean {
  try {
    const numbers = readdirSync(`/proc/${pid}/fd`)
    return numbers.some((fd) => /^tfd:\s+0 /mu.test(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8')))
  } catch {
    return false
  }
}
