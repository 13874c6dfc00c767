import { errorLine, results } from '../common/output.ts'
import { useTerminal } from '../common/terminal.ts'
import { stylesFor, widthOf } from '../common/text.ts'
import { barLine, progressLine } from './barLine.ts'
import type { Overview } from './overview.ts'
import type { Lines } from './reporter.ts'

const redrawMs = 100

const clearRight = '\u001B[K'
const clearBelow = '\u001B[0J'
const wrapOn = '\u001B[?7h'
const wrapOff = '\u001B[?7l'

const lineMs = 5_000

/** Prints lines without showing progress. */
export const plainLines: Lines = { result: (line) => results.line(line), note: errorLine, [Symbol.dispose]() {} }

/** Prints the progress every five seconds, if another program may use the terminal: `osp send a | sha256sum -c`. */
export function progressLines(overview: Overview): Lines {
  const styles = stylesFor(process.stderr)
  const measure = () => overview.measure(performance.now())
  const report = () => errorLine(progressLine(overview.total(performance.now()), styles))
  const timers = [setInterval(measure, redrawMs), setInterval(report, lineMs)]
  return { ...plainLines, [Symbol.dispose]: () => timers.forEach(clearInterval) }
}

/** Draws bars on stderr, which must be a terminal, and writes lines above them. */
export class Bars implements Lines {
  readonly #overview: Overview
  readonly #styles = stylesFor(process.stderr)
  readonly #timer: NodeJS.Timeout
  readonly #terminal: Disposable
  #isForeground = false
  #above: (() => void)[] = []
  /** The widths of the drawn bars. The cursor is in the last one. */
  #drawn: readonly number[] = []
  readonly #resized = () => this.#redraw()

  constructor(overview: Overview) {
    this.#overview = overview
    this.#timer = setInterval(() => this.#redraw(), redrawMs)
    process.stderr.on('resize', this.#resized)
    this.#terminal = useTerminal({
      take: () => {
        this.#isForeground = true
      },
      restore: () => {
        this.#isForeground = false
        process.stderr.write(this.#toFirstBar() + clearBelow)
        this.#drawn = []
      },
    })
  }

  result(line: string): void {
    this.#above.push(() => results.line(line))
  }

  note(line: string): void {
    this.#above.push(() => process.stderr.write(`${line}\n`))
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    process.stderr.off('resize', this.#resized)
    this.#terminal[Symbol.dispose]()
    this.#writeLines()
  }

  #redraw(): void {
    const now = performance.now()
    this.#overview.measure(now)
    if (this.#isForeground) this.#draw(now)
    else this.#writeLines()
  }

  /** Draws bars in place of the former ones, below the pending lines. */
  #draw(now: number): void {
    const overview = this.#overview
    const most = Math.max(0, (process.stderr.rows || 24) - 2)
    const states = [...overview.shown(now)].slice(0, most).map((task) => overview.stateOf(task))
    // For one file, the total would repeat its bar.
    if (overview.files > 1 || states.length === 0) states.push(overview.total(now))
    process.stderr.write(this.#toFirstBar() + (this.#above.length > 0 ? clearBelow : ''))
    this.#writeLines()
    const lines = states.map((state) => barLine(state, columnsOfTerminal(), this.#styles))
    // Line wrapping is off only while bars are drawn, so that it is on however the process ends.
    process.stderr.write(wrapOff + lines.join(`${clearRight}\n`) + clearBelow + wrapOn)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours take no room
    this.#drawn = lines.map((line) => widthOf(line.replace(/\u001B\[\d+m/gu, '')))
  }

  /** Returns the text that moves the cursor to the first bar. A terminal that became narrower has wrapped the bars. */
  #toFirstBar(): string {
    const lines = this.#drawn.map((width) => Math.max(1, Math.ceil(width / columnsOfTerminal())))
    const up = lines.reduce((sum, count) => sum + count, -1)
    return up > 0 ? `\r\u001B[${up}A` : '\r'
  }

  #writeLines(): void {
    for (const write of this.#above.splice(0)) write()
  }
}

const columnsOfTerminal = () => process.stderr.columns || 80
