import { fstatSync } from 'node:fs'
import { errorLine, type Results, type Say, sayer } from '../common/output.ts'
import { placeText } from '../common/settings.ts'
import { isTerminal, stylesFor } from '../common/style.ts'
import { Bars, ProgressLines } from './bars.ts'
import { JsonReporter } from './jsonReporter.ts'
import { Overview } from './overview.ts'
import type { Reporter } from './reporter.ts'
import type { SendValues } from './settings.ts'
import { TextReporter } from './textReporter.ts'

/** Interval of the `progress` events in JSON. */
const progressMs = 1_000

/** A reporter, and what has to be done when it has reported the end. */
export interface OpenReporter extends Disposable {
  readonly reporter: Reporter
  /** Tells somebody at a terminal something. */
  readonly say: Say
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

/**
 * Returns the requested reporter. It draws bars if stderr is a terminal that no other program of the command line
 * writes to.
 */
export function openReporter(values: SendValues, results: Results): OpenReporter {
  const { server, json, quiet, 'retry-for': retryForMs } = values
  const place = placeText(server)
  if (json) {
    const reporter = new JsonReporter(place, (event) => results.event(event))
    const timer = setInterval(() => {
      if (!results.pending) reporter.progress(performance.now())
    }, progressMs)
    const say = sayer(errorLine, stylesFor(process.stderr))
    return { reporter, say, [Symbol.dispose]: () => clearInterval(timer) }
  }
  const terminal = { results: isTerminal(process.stdout), notes: isTerminal(process.stderr) }
  const options = { styles: stylesFor(process.stderr), server: place, retryForMs, quiet, terminal }
  if (!terminal.notes || quiet) {
    const lines = { result: (line: string) => results.line(line), note: errorLine }
    const say = sayer(errorLine, options.styles)
    return { reporter: new TextReporter({ ...options, lines }), say, [Symbol.dispose]() {} }
  }
  const overview = new Overview()
  const bars = new (sharesTerminal() ? ProgressLines : Bars)(overview, results)
  return {
    reporter: new TextReporter({ ...options, lines: bars, overview }),
    say: sayer((line) => bars.note(line), options.styles),
    [Symbol.dispose]: () => bars[Symbol.dispose](),
  }
}
