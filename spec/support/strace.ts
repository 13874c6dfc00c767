import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import type { StartOptions } from './processes.ts'

/** A fault that is injected into system calls of a process. */
export interface Injection {
  /** The calls: names as for strace(1), separated by commas. */
  readonly calls: string
  /** The effect, as for strace's `inject`: `error=EIO`, `signal=SIGKILL`. */
  readonly fault: string
  /** The numbers of the affected calls: `3`, `1..4`, `2+`. */
  readonly when: string
  /** Only calls about one of these paths, which need not exist yet. */
  readonly paths: readonly string[]
}

/**
 * Returns a wrapper that starts a Node process with this fault. The started process is Node itself, not strace, so the
 * process id is that of Node.
 */
export function injecting({ calls, fault, when, paths }: Injection): StartOptions {
  const only = paths.flatMap((path) => ['-P', path])
  const what = ['-e', `trace=${calls}`, '-e', `inject=${calls}:${fault}:when=${when}`]
  return {
    under: ['strace', '-D', '-f', '-qq', '-o', '/dev/null', ...only, ...what],
    // strace counts the calls of each thread separately.
    env: {
      UV_THREADPOOL_SIZE: '1',
      NODE_OPTIONS: `--require=${join(import.meta.dirname, 'writesInMainThread.cjs')}`,
    },
  }
}

/** Whether strace is installed and may trace processes of this user. */
export const canInject: boolean = (() => {
  const { under = [] } = injecting({ calls: 'exit_group', fault: 'signal=SIGKILL', when: '1', paths: [] })
  const [command = '', ...line] = under
  return spawnSync(command, [...line, 'true']).signal === 'SIGKILL'
})()
