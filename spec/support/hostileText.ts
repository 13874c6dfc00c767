import assert from 'node:assert/strict'
import type { Outcome } from './commands.ts'

/**
 * Text that must not reach a terminal from outside: it controls the terminal, changes the text direction, or is
 * invisible.
 */
export const hostileText = 'x\u001B]0;EVIL\u0007\u009B31m\u202Ey\u2066\u200Bz\u{E0041}\u007F'

/** Output of a program on a terminal: colours, and cursor movements for bars. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the pattern searches for them
const own = /\u001B\[\??[\d;]*[A-Za-z]|[\r\n]/gu

const unprintable =
  /[\p{Cc}\p{Cs}\u2028\u2029\u061C\u200B\u200E\u200F\u202A-\u202E\u2060-\u2069\uFEFF\u{E0000}-\u{E007F}]/u

/** Fails if any of it was printed unescaped. */
export function assertPrintable({ stdout, stderr }: Pick<Outcome, 'stdout' | 'stderr'>, terminal = false): void {
  for (const text of [stdout, stderr]) {
    const found = unprintable.exec(text.replaceAll(terminal ? own : '\n', ''))
    if (found) assert.fail(`raw ${JSON.stringify(found[0])} in ${JSON.stringify(text.slice(0, 2_000))}`)
  }
}

/** Whether any of it was printed; otherwise `assertPrintable` proves nothing. */
export function containsHostileText({ stdout, stderr }: Pick<Outcome, 'stdout' | 'stderr'>): boolean {
  return `${stdout}${stderr}`.includes('EVIL')
}
