import assert from 'node:assert/strict'
import type { Outcome } from './commands.ts'

/** What no terminal may get from outside: it steers one, turns the direction of writing, or hides. */
export const nasty = 'x\u001B]0;EVIL\u0007\u009B31m\u202Ey\u2066\u200Bz\u{E0041}\u007F'

/** What a program on a terminal writes itself: colours, and the cursor's moves for bars. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const own = /\u001B\[\??[\d;]*[A-Za-z]|[\r\n]/gu

const unfit = /[\p{Cc}\p{Cs}\u2028\u2029\u061C\u200B\u200E\u200F\u202A-\u202E\u2060-\u2069\uFEFF\u{E0000}-\u{E007F}]/u

/** Proves that nothing raw of it was printed. */
export function fit({ stdout, stderr }: Pick<Outcome, 'stdout' | 'stderr'>, terminal = false): void {
  for (const text of [stdout, stderr]) {
    const found = unfit.exec(text.replaceAll(terminal ? own : '\n', ''))
    if (found) assert.fail(`raw ${JSON.stringify(found[0])} in ${JSON.stringify(text.slice(0, 2_000))}`)
  }
}

/** Whether something of it was printed: then that it is fit says something. */
export function shown({ stdout, stderr }: Pick<Outcome, 'stdout' | 'stderr'>): boolean {
  return `${stdout}${stderr}`.includes('EVIL')
}
