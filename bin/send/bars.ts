import { moveCursor } from 'node:readline'
import { MultiBar, type SingleBar } from 'cli-progress'
import { errorLine, type ResultOutput } from '../common/output.ts'
import { useTerminal } from '../common/terminal.ts'
import { stylesFor, widthOf } from '../common/text.ts'
import { type BarState, barLine, progressLine } from './barLine.ts'
import type { Overview } from './overview.ts'
import type { ReportedFile } from './reporter.ts'
import type { Lines } from './textReporter.ts'

const redrawMs = 100

/** Escape codes of a terminal. */
const clearBelow = '\u001B[J'
const wrapOn = '\u001B[?7h'
const wrapOff = '\u001B[?7l'

/** Interval of the progress lines. */
const lineMs = 5_000

/**
 * Prints the progress of all files on stderr, a line every five seconds. Replaces the bars if another program may write
 * to the same terminal, as in `osp send a | sha256sum -c`: whole lines do not overwrite each other.
 */
export class ProgressLines implements Lines, Disposable {
  readonly #results: ResultOutput
  readonly #timers: readonly NodeJS.Timeout[]

  constructor(overview: Overview, results: ResultOutput) {
    this.#results = results
    const measure = () => overview.measure(performance.now())
    const report = () => this.note(progressLine(overview.total(performance.now()), stylesFor(process.stderr)))
    this.#timers = [setInterval(measure, redrawMs), setInterval(report, lineMs)]
  }

  result(line: string): void {
    this.#results.line(line)
  }

  note(line: string): void {
    errorLine(line)
  }

  [Symbol.dispose](): void {
    for (const timer of this.#timers) clearInterval(timer)
  }
}

/** Draws bars on stderr, which must be a terminal, and writes lines above them. */
export class Bars implements Lines, Disposable {
  readonly #overview: Overview
  readonly #results: ResultOutput
  readonly #styles = stylesFor(process.stderr)
  #multi: MultiBar | undefined
  readonly #terminal: Disposable
  readonly #bars = new Map<ReportedFile, SingleBar>()
  /** The bar of all files together, which is always the last one. */
  #total: SingleBar | undefined
  #above: (() => void)[] = []
  /** The widths of the drawn lines, from top to bottom. */
  #drawn: number[] = []
  readonly #timer: NodeJS.Timeout
  readonly #resized = () => this.#reflow()

  constructor(overview: Overview, results: ResultOutput) {
    this.#overview = overview
    this.#results = results
    this.#timer = setInterval(() => this.#redraw(), redrawMs)
    process.stderr.on('resize', this.#resized)
    this.#terminal = useTerminal({
      take: () => {
        this.#multi = this.#createMulti()
      },
      restore: () => this.#clear(),
    })
  }

  result(line: string): void {
    this.#above.push(() => this.#results.line(line))
  }

  note(line: string): void {
    this.#above.push(() => process.stderr.write(`${line}\n`))
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    process.stderr.off('resize', this.#resized)
    this.#terminal[Symbol.dispose]()
    for (const write of this.#above.splice(0)) write()
  }

  /** Creates the bars of the library without drawing them. */
  #createMulti(): MultiBar {
    const multi = new MultiBar({
      stream: process.stderr,
      format: (_options, { maxWidth }, payload: { state: () => BarState }) => this.#line(payload.state(), maxWidth),
      clearOnComplete: true,
      // The cursor stays visible even if the process is killed.
      hideCursor: false,
      linewrap: false,
      forceRedraw: true,
      gracefulExit: false,
      // This class redraws; the timer of the library must not interfere.
      fps: 0.5,
    })
    // Line wrapping is off only while bars are drawn, so that it is on however the process ends.
    multi.on('update-pre', () => process.stderr.write(wrapOff))
    multi.on('redraw-pre', () => this.#writeAbove())
    multi.on('update-post', () => process.stderr.write(wrapOn))
    return multi
  }

  /** Removes the bars while another program uses the terminal. */
  #clear(): void {
    this.#multi?.stop()
    this.#multi = undefined
    this.#bars.clear()
    this.#total = undefined
    this.#drawn = []
  }

  #redraw(): void {
    const now = performance.now()
    this.#overview.measure(now)
    if (!this.#multi) {
      for (const write of this.#above.splice(0)) write()
      return
    }
    const shown = new Set([...this.#overview.shown(now)].slice(0, Math.max(0, (process.stderr.rows || 24) - 2)))
    const ended = [...this.#bars.keys()].filter((task) => !shown.has(task))
    const begun = [...shown].filter((task) => !this.#bars.has(task))
    for (const task of ended) this.#remove(task)
    // For one file, the total would repeat its bar.
    const wantsTotal = this.#overview.files > 1 || shown.size === 0
    if (this.#total && (begun.length > 0 || !wantsTotal)) {
      this.#multi.remove(this.#total)
      this.#total = undefined
    }
    for (const task of begun) this.#create(this.#multi, task)
    if (wantsTotal) {
      const state = () => this.#overview.total(performance.now())
      this.#total ??= this.#multi.create(1, 0, { state })
    }
    this.#update()
  }

  #remove(task: ReportedFile): void {
    const bar = this.#bars.get(task)
    if (bar) this.#multi?.remove(bar)
    this.#bars.delete(task)
  }

  #create(multi: MultiBar, task: ReportedFile): void {
    const state = () => this.#overview.stateOf(task)
    this.#bars.set(task, multi.create(1, 0, { state }))
  }

  #update(): void {
    this.#drawn = []
    this.#multi?.update()
  }

  #line(state: BarState, columns: number): string {
    const line = barLine(state, columns, this.#styles)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours take no room
    this.#drawn.push(widthOf(line.replace(/\u001B\[\d+m/gu, '')))
    return line
  }

  /** Writes the pending lines. The cursor is at the start of the first bar. */
  #writeAbove(): void {
    const lines = this.#above.splice(0)
    if (lines.length === 0) return
    process.stderr.write(clearBelow + wrapOn)
    for (const write of lines) write()
    process.stderr.write(wrapOff)
  }

  /** Redraws after a resize. A narrower terminal has wrapped the bars into more lines than the library moves up. */
  #reflow(): void {
    if (!this.#multi) return
    const columns = process.stderr.columns || 80
    const lines = this.#drawn.map((width) => Math.max(1, Math.ceil(width / columns)))
    const more = lines.reduce((sum, count) => sum + count - 1, 0)
    if (more > 0) moveCursor(process.stderr, 0, -more)
    // Causes the lines below to be cleared.
    this.#above.push(() => {})
    this.#update()
  }
}
