import { moveCursor } from 'node:readline'
import { MultiBar, type SingleBar } from 'cli-progress'
import { results } from '../common/output.ts'
import { useTerminal } from '../common/terminal.ts'
import { stylesFor, widthOf } from '../common/text.ts'
import { type BarState, barLine } from './barLine.ts'
import type { Lines } from './lines.ts'
import type { Overview } from './overview.ts'

const redrawMs = 100

const clearBelow = '\u001B[J'
const wrapOn = '\u001B[?7h'
const wrapOff = '\u001B[?7l'

/** Draws bars on stderr, which must be a terminal, and writes lines above them. */
export class Bars implements Lines {
  readonly #overview: Overview
  readonly #styles = stylesFor(process.stderr)
  #multi: MultiBar | undefined
  readonly #terminal: Disposable
  /** The drawn bars from top to bottom, and what each shows. The last one can be that of all files together. */
  #bars: SingleBar[] = []
  #states: BarState[] = []
  #above: (() => void)[] = []
  #drawn: number[] = []
  readonly #timer: NodeJS.Timeout
  readonly #resized = () => this.#reflow()

  constructor(overview: Overview) {
    this.#overview = overview
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

  #createMulti(): MultiBar {
    const multi = new MultiBar({
      stream: process.stderr,
      format: (_options, { maxWidth }, { at }: { at: number }) => this.#line(at, maxWidth),
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
    multi.on('update-pre', () => {
      this.#drawn = []
      process.stderr.write(wrapOff)
    })
    multi.on('redraw-pre', () => this.#writeAbove())
    multi.on('update-post', () => process.stderr.write(wrapOn))
    return multi
  }

  /** Removes the bars while another program uses the terminal. */
  #clear(): void {
    this.#multi?.stop()
    this.#multi = undefined
    this.#bars = []
    this.#drawn = []
  }

  #redraw(): void {
    const now = performance.now()
    const overview = this.#overview
    overview.measure(now)
    if (!this.#multi) {
      this.#writeLines()
      return
    }
    const most = Math.max(0, (process.stderr.rows || 24) - 2)
    this.#states = [...overview.shown(now)].slice(0, most).map((task) => overview.stateOf(task))
    // For one file, the total would repeat its bar.
    if (overview.files > 1 || this.#states.length === 0) this.#states.push(overview.total(now))
    for (const bar of this.#bars.splice(this.#states.length)) this.#multi.remove(bar)
    for (let at = this.#bars.length; at < this.#states.length; at++) this.#bars.push(this.#multi.create(1, 0, { at }))
    this.#multi.update()
  }

  #line(at: number, columns: number): string {
    const state = this.#states[at]
    const line = state ? barLine(state, columns, this.#styles) : ''
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours take no room
    this.#drawn.push(widthOf(line.replace(/\u001B\[\d+m/gu, '')))
    return line
  }

  #writeLines(): void {
    for (const write of this.#above.splice(0)) write()
  }

  /** Writes the pending lines above the bars. The cursor is at the start of the first bar. */
  #writeAbove(): void {
    if (this.#above.length === 0) return
    process.stderr.write(clearBelow + wrapOn)
    this.#writeLines()
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
    this.#multi.update()
  }
}
