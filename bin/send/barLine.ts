import { fit, printable, type Styles, widthOf } from '../common/text.ts'
import { formatPart, formatSize, formatTime } from '../common/units.ts'

/** The values that a bar shows. */
export interface BarState {
  readonly title: string
  /** Replaces the title if there are too few columns. */
  readonly shortTitle?: string
  /** Bytes that the server has acknowledged, and those of them that are durable. */
  readonly done: number
  readonly durable: number
  readonly size: number
  /** False if more bytes follow, so that the remaining time is unknown. */
  readonly isSizeKnown?: boolean
  readonly bytesPerSecond?: number | undefined
  /** Replaces the speed and the remaining time. */
  readonly note?: string | undefined
  readonly bold?: boolean
}

const gap = 2
const widths = { percent: 4, sizes: 16, speed: 10, left: 8 }
const least = { title: 12, bar: 8 }
const mostBar = 30

/** The columns in the order in which they are omitted if there are too few columns. */
const leavable = ['left', 'sizes', 'speed', 'bar'] as const

type Column = keyof typeof widths | 'bar'

/** Returns a bar as a line of less than `columns` columns: name, bar, percent, sizes, speed, remaining time. */
export function barLine(state: BarState, columns: number, styles: Styles): string {
  // The last column stays empty: terminals differ in the position of the cursor after it.
  const { shown, rest } = columnsFor(columns - 1)
  const bar = shown.has('bar') ? Math.min(mostBar, Math.max(least.bar, Math.floor(rest * 0.45))) : 0
  const room = Math.max(1, rest - bar)
  const { shortTitle = state.title } = state
  const title = fit(printable(widthOf(state.title) > room ? shortTitle : state.title), room, 'end')
  const parts = [
    state.bold ? styles.bold(title) : title,
    shown.has('bar') && drawn(state, bar, styles),
    percentText(state).padStart(widths.percent),
    shown.has('sizes') && styles.dim(formatPart(state.done, state.size).padStart(widths.sizes)),
    ...ends(state, shown, styles),
  ]
  return parts.filter((part) => part !== false).join(' '.repeat(gap))
}

/** Returns the state of a bar as a sentence. */
export function progressLine(state: BarState, { yellow }: Styles): string {
  const { title, done, size, bytesPerSecond, note } = state
  const parts = [percentText(state), formatPart(done, size)]
  if (note !== undefined) parts.push(note)
  else if (bytesPerSecond) {
    const left = leftText(state)
    parts.push(`${formatSize(bytesPerSecond)}/s`, ...(left === '' ? [] : [`${left} left`]))
  }
  return `${yellow('osp:')} ${printable(title)}: ${parts.join(', ')}`
}

const percentText = (state: BarState) => `${Math.floor(100 * fraction(state))}%`

const leftText = ({ done, size, isSizeKnown = true, bytesPerSecond }: BarState) =>
  bytesPerSecond && isSizeKnown ? formatTime(((size - done) / bytesPerSecond) * 1_000) : ''

/** Returns the columns that fit, and the width that remains for the title and the bar. */
function columnsFor(room: number): { shown: ReadonlySet<Column>; rest: number } {
  const shown = new Set<Column>(['bar', 'percent', 'sizes', 'speed', 'left'])
  const rest = () => {
    const fixed = [...shown].map((column) => gap + (column === 'bar' ? 0 : widths[column]))
    return room - fixed.reduce((sum, width) => sum + width, 0)
  }
  for (const column of leavable) {
    if (rest() >= least.title + (shown.has('bar') ? least.bar : 0)) break
    shown.delete(column)
  }
  return { shown, rest: rest() }
}

function ends(state: BarState, shown: ReadonlySet<Column>, styles: Styles): string[] {
  const { bytesPerSecond, note } = state
  const columns = (['speed', 'left'] as const).filter((column) => shown.has(column))
  if (note !== undefined) {
    const width = columns.reduce((sum, column) => sum + widths[column] + gap, -gap)
    return columns.length > 0 ? [styles.yellow(fit(note, width))] : []
  }
  const speed = bytesPerSecond === undefined ? '' : `${formatSize(bytesPerSecond)}/s`
  const texts = { speed: styles.cyan(speed.padStart(widths.speed)), left: leftText(state).padStart(widths.left) }
  return columns.map((column) => texts[column])
}

/** Draws durable bytes as full blocks, and bytes that the server could still lose as half-full blocks. */
function drawn({ done, durable, size }: BarState, width: number, styles: Styles): string {
  const full = Math.floor(width * fraction({ done: durable, size }))
  const half = Math.floor(width * fraction({ done, size })) - full
  return styles.green('█'.repeat(full) + '▒'.repeat(half)) + styles.dim('░'.repeat(width - full - half))
}

const fraction = ({ done, size }: Pick<BarState, 'done' | 'size'>) => (size > 0 ? Math.min(1, done / size) : 0)
