import { fstatSync } from 'node:fs'
import type { CommonOptions } from '../common/commonOptions.ts'
import { errorLine, results } from '../common/output.ts'
import { isTerminal, stylesFor } from '../common/text.ts'
import { progressLine } from './barLine.ts'
import type { Overview } from './overview.ts'

/** The destination of lines: above the bars, if there are any. */
export interface Lines extends Disposable {
  result(line: string): void
  note(line: string): void
}

const measureMs = 100

const lineMs = 5_000

/** Prints lines without showing progress. */
export const plainLines: Lines = { result: (line) => results.line(line), note: errorLine, [Symbol.dispose]() {} }

/** Prints the progress every five seconds, if another program may use the terminal: `osp send a | sha256sum -c`. */
function progressLines(overview: Overview): Lines {
  const styles = stylesFor(process.stderr)
  const measure = () => overview.measure(performance.now())
  const report = () => errorLine(progressLine(overview.total(performance.now()), styles))
  const timers = [setInterval(measure, measureMs), setInterval(report, lineMs)]
  return { ...plainLines, [Symbol.dispose]: () => timers.forEach(clearInterval) }
}

/** Returns the lines of a command, with bars if stderr is a terminal that no other program of the pipeline writes to. */
export async function openLines(
  { quiet, json }: Pick<CommonOptions, 'quiet' | 'json'>,
  overview: Overview,
): Promise<Lines> {
  if (!isTerminal(process.stderr) || quiet || json) return plainLines
  if (sharesTerminal()) return progressLines(overview)
  // Loaded on demand, since it needs a package that no other output needs.
  const { Bars } = await import('./bars.ts')
  return new Bars(overview)
}

/** Returns whether the program that reads stdout may also write to the terminal. */
function sharesTerminal(): boolean {
  try {
    const stdout = fstatSync(process.stdout.fd)
    return stdout.isFIFO() || stdout.isSocket()
  } catch {
    return false
  }
}
