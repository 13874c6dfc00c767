import { type CancelledTask, isSpooled } from 'ospd/node'
import type { TaskEvent } from '../common/events.ts'
import { fit, printable, type Styles, widthOf } from '../common/text.ts'
import { formatPart, formatTime, percent } from '../common/units.ts'

/** Formats tasks: number, state, percent, bytes, name. With `why`, a reason below each task that does not proceed. */
export function taskLines(tasks: readonly CancelledTask[], why: boolean, styles: Styles): readonly string[] {
  const rows = tasks.map((task) => ({ task, cells: cellsOf(task) }))
  const widths = [0, 1, 2, 3].map((at) => rows.reduce((most, { cells }) => Math.max(most, widthOf(cells[at] ?? '')), 0))
  return rows.flatMap(({ task, cells }) => {
    const [number = '', state = '', part = '', sizes = ''] = cells.map((cell, at) =>
      at === 1 ? fit(cell, widths[at] ?? 0) : cell.padStart(widths[at] ?? 0),
    )
    const style = styleOf(task, styles)
    const line = [number, style(state), part, styles.dim(sizes), printable(task.name)].join('  ')
    const reason = why ? reasonOf(task) : undefined
    return reason === undefined ? [line] : [line, `${' '.repeat(number.length + 2)}${styles.yellow(printable(reason))}`]
  })
}

/** Returns the event of a task. */
export function taskEvent(task: CancelledTask, directory: string): TaskEvent {
  const { id, ref, name, acknowledged, durable, size, why } = task
  const file = ref === undefined ? name : shownRef(directory, ref)
  const reason = { why: why?.text ?? null, code: why?.code ?? null, retryMs: why?.retryMs ?? null }
  return { event: 'task', task: id, file, name, state: stateOf(task), acknowledged, durable, size, ...reason }
}

function cellsOf(task: CancelledTask): readonly string[] {
  const { id, acknowledged, size, state } = task
  const part = state === 'done' ? 100 : percent(acknowledged, size)
  return [String(id), stateOf(task), `${part}%`, size > 0 || state === 'done' ? formatPart(acknowledged, size) : '']
}

/** Reports a file that is being verified as being sent. */
const stateOf = ({ state }: CancelledTask) => (state === 'verifying' ? 'sending' : state)

function styleOf({ state }: CancelledTask, { green, red, yellow, cyan }: Styles): (text: string) => string {
  if (state === 'done') return green
  if (state === 'failed') return red
  return state === 'sending' || state === 'verifying' ? cyan : yellow
}

function reasonOf({ why }: CancelledTask): string | undefined {
  if (!why) return undefined
  return why.retryMs === undefined ? why.text : `${why.text}; next try in ${formatTime(why.retryMs)}`
}

/** Returns the path of the content of a task, or `-` if it was read from stdin. */
export const shownRef = (directory: string, ref: string): string => (isSpooled(directory, ref) ? '-' : ref)
