import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { type Outcome, ownState } from './commands.ts'
import { type Running, startNode } from './processes.ts'
import { root } from './source.ts'

/** The beginning of a terminal's control sequences. */
export const escapeCode = '\u001B'

/** script(1) of util-linux runs a command on a terminal. */
const terminal = 'script'

/** Whether a terminal can be created. */
export const terminals = spawnSync(terminal, ['-qec', 'exit 7', '/dev/null']).status === 7

const quoted = (word: string) => `'${word.replaceAll("'", "'\\''")}'`

/** Returns the shell command for a program of this package with its arguments. */
export function commandLine(program: 'ospd' | 'osp', args: readonly string[]): string {
  return [process.execPath, join(root, `dist/bin/${program}.js`), ...args].map(quoted).join(' ')
}

/** The character that a terminal turns into SIGINT. */
export const ctrlC = '\u0003'

/** Starts a program on a terminal: `stdout` is the terminal's output, and data written to stdin is typed. */
export function startOnTerminal(
  program: 'ospd' | 'osp',
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Running {
  // The shell ignores the arguments after the line. With `exec`, no shell remains that Ctrl-C could end first.
  const under = ['sh', '-c', `exec ${terminal} -qefc "exec $0" /dev/null`, commandLine(program, args)]
  return startNode(`dist/bin/${program}.js`, [], {
    env: { TERM: 'xterm', NO_COLOR: '', OSP_STATE: ownState, ...env },
    under,
  })
}

/** Runs a shell command on a terminal of 100 columns; `stdout` is the terminal's output. */
export async function onTerminal(line: string, cwd: string, env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  const child = spawnSync(terminal, ['-qec', `stty cols 100 rows 24; ${line}`, '/dev/null'], {
    cwd,
    env: { ...process.env, TERM: 'xterm', NO_COLOR: '', OSP_STATE: ownState, ...env },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  return { code: child.status, stdout: child.stdout, stderr: child.stderr }
}

const sequence = new RegExp(`${escapeCode}\\[(?<number>\\??[\\d;]*)(?<letter>[A-Za-z])`, 'uy')

/** Returns the lines that an output leaves on a terminal of any size, without spaces at their ends. */
export function screenOf(output: string): readonly string[] {
  const rows: string[] = ['']
  let [row, column] = [0, 0]
  const moves: Readonly<Record<string, (number: number) => void>> = {
    A: (number) => (row = Math.max(0, row - (number || 1))),
    B: (number) => (row += number || 1),
    G: (number) => (column = (number || 1) - 1),
    K: () => (rows[row] = (rows[row] ?? '').slice(0, column)),
    J: () => rows.splice(row, Number.POSITIVE_INFINITY, (rows[row] ?? '').slice(0, column)),
  }
  for (let at = 0; at < output.length; ) {
    sequence.lastIndex = at
    const { number = '', letter = '' } = sequence.exec(output)?.groups ?? {}
    if (letter) {
      at = sequence.lastIndex
      moves[letter]?.(Number(number) || 0)
      continue
    }
    const char = output[at++] ?? ''
    if (char === '\r') column = 0
    else if (char === '\n') row++
    else {
      const text = (rows[row] ?? '').padEnd(column)
      rows[row] = text.slice(0, column) + char + text.slice(column + 1)
      column++
    }
  }
  return Array.from(rows, (text = '') => text.trimEnd())
}
