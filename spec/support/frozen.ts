import { readFileSync } from 'node:fs'
import type { Running } from './processes.ts'
import { turns } from './turns.ts'

/** Whether processes can be frozen here, and it can be told that they are. */
export const canFreeze: boolean = process.platform === 'linux'

/** What /proc says of a process: `T` where it is stopped. */
const stateOf = ({ child }: Running) => /\) (\w)/u.exec(readFileSync(`/proc/${child.pid}/stat`, 'utf8'))?.[1]

/** Resolves when the process does nothing any more. */
export async function freeze(running: Running): Promise<void> {
  running.child.kill('SIGSTOP')
  await turns(() => stateOf(running) === 'T')
}

export function thaw({ child }: Running): void {
  child.kill('SIGCONT')
}
