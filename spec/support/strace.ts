import { spawnSync } from 'node:child_process'
import type { StartOptions } from './processes.ts'

/** A fault of the system calls that a process makes. */
export interface Injection {
  /** Which calls: names as strace(1) takes them, parted by commas. */
  readonly calls: string
  /** What becomes of them, as strace's `inject` takes it: `error=EIO`, `signal=SIGKILL`. */
  readonly fault: string
  /** Which of them: `3`, `1..4`, `2+`. */
  readonly when: string
  /** Only calls about one of these paths; they need not exist yet. */
  readonly paths: readonly string[]
}

/** How to start a Node process that meets a fault. What is started is Node itself, not strace: so its id is Node's. */
export function injecting({ calls, fault, when, paths }: Injection): StartOptions {
  const only = paths.flatMap((path) => ['-P', path])
  const what = ['-e', `trace=${calls}`, '-e', `inject=${calls}:${fault}:when=${when}`]
  return {
    under: ['strace', '-D', '-f', '-qq', '-o', '/dev/null', ...only, ...what],
    // strace counts the calls of each thread by itself.
    env: { UV_THREADPOOL_SIZE: '1' },
  }
}

/** Whether strace is there and may trace and change what a process of ours does. */
export const canInject: boolean = (() => {
  const { under = [] } = injecting({ calls: 'exit_group', fault: 'signal=SIGKILL', when: '1', paths: [] })
  const [command = '', ...line] = under
  return spawnSync(command, [...line, 'true']).signal === 'SIGKILL'
})()
