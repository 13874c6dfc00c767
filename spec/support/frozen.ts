import { readFileSync } from 'node:fs'
import type { Running } from './processes.ts'
import { turns } from './turns.ts'

/** Whether processes can be frozen here, and their state can be read. */
export const canFreeze: boolean = process.platform === 'linux'

/** The state of a process in /proc: `T` if it is stopped. */
const stateOf = ({ child }: Running) => /\) (\w)/u.exec(readFileSync(`/proc/${child.pid}/stat`, 'utf8'))?.[1]

/** Resolves when the process has stopped. */
export async function freeze(running: Running): Promise<void> {
  running.child.kill('SIGSTOP')
  await turns(() => stateOf(running) === 'T')
}

export function thaw({ child }: Running): void {
  child.kill('SIGCONT')
}
