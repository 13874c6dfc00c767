import { errorLine, results } from '../common/output.ts'
import { stylesFor } from '../common/text.ts'
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
export function progressLines(overview: Overview): Lines {
  const styles = stylesFor(process.stderr)
  const measure = () => overview.measure(performance.now())
  const report = () => errorLine(progressLine(overview.total(performance.now()), styles))
  const timers = [setInterval(measure, measureMs), setInterval(report, lineMs)]
  return { ...plainLines, [Symbol.dispose]: () => timers.forEach(clearInterval) }
}
