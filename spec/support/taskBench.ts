import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { commandEvents } from '../../bin/common/events.ts'
import { type Daemon, daemon, type Outcome, type Place, place, run, start } from './commands.ts'
import type { Running } from './processes.ts'
import { published } from './published.ts'
import { slowRelay } from './slowRelay.ts'
import { turns } from './turns.ts'

/** A daemon, and a folder in which alice runs `osp` with her own state directory. */
export interface TaskBench extends AsyncDisposable {
  readonly at: Place
  /** The state directory of alice for this server. */
  readonly state: string
  server: Daemon
  /** Ends the slowness of the way to the server. */
  hurry(): void
  /** Starts `osp` with these arguments. */
  start(...args: readonly string[]): Running
  /** Runs `osp` until it exits, with `input` on stdin. */
  run(...args: readonly string[]): Promise<Outcome>
  runWith(input: string, ...args: readonly string[]): Promise<Outcome>
  /** Returns the JSON output of a command about tasks. */
  tasks(...args: readonly string[]): Promise<readonly Record<string, unknown>[]>
  /** Returns the file that the server has stored for alice under this name. */
  stored(name: string): string
  /** Returns the names of partial files on the server. */
  partials(): readonly string[]
  /** Resolves when the server has this many bytes of unfinished files. */
  partly(bytes: number): Promise<void>
}

/** A pause or a cancellation waits only for the few chunks that are on the slow way. */
const slowFlags = ['--chunk', '32K', '--window', '64K']

async function taskBench(bytesPerSecond?: number): Promise<TaskBench> {
  const at = await place()
  const data = join(at.path, 'data')
  const server = await daemon(data, bytesPerSecond === undefined ? [] : slowFlags)
  const relay = bytesPerSecond === undefined ? undefined : await slowRelay(server.port, bytesPerSecond)
  const { port } = relay ?? server
  const env = { OSP_SERVER: `127.0.0.1:${port}`, OSP_USER: 'alice', OSP_STATE: join(at.path, 'state') }
  const partials = () => readdirSync(join(data, 'partial'))
  const bytesOf = (name: string) => {
    try {
      return statSync(join(data, 'partial', name)).size
    } catch {
      return 0
    }
  }
  const options = { cwd: at.path, env }
  const bench: TaskBench = {
    at,
    server,
    hurry: () => relay?.hurry(),
    state: join(at.path, 'state', `127.0.0.1_${port}`, 'alice'),
    start: (...args) => start('osp', args, options),
    run: (...args) => run('osp', args, options),
    runWith: (input, ...args) => run('osp', args, { ...options, input }),
    tasks: async (...args) => published((await run('osp', [...args, '--json'], options)).stdout, commandEvents.add),
    stored: (name) => readFileSync(join(data, 'files/alice', name), 'latin1'),
    partials,
    partly: (bytes) => turns(() => partials().reduce((sum, name) => sum + bytesOf(name), 0) >= bytes),
    async [Symbol.asyncDispose]() {
      await relay?.[Symbol.asyncDispose]()
      await bench.server.kill()
      await at[Symbol.asyncDispose]()
    },
  }
  return bench
}

/** A test with such a bench. The server receives `bytesPerSecond` of each connection until `hurry` is called. */
export function withTasks(prove: (bench: TaskBench) => Promise<void>, bytesPerSecond?: number): () => Promise<void> {
  return async () => {
    await using bench = await taskBench(bytesPerSecond)
    await prove(bench)
  }
}
