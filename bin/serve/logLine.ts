import type { LogEntry } from 'ospd'
import { printable } from '../common/printable.ts'
import type { Styles } from '../common/style.ts'

/** A log entry as one line: time, level, event, and its fields as `key=value`, quoted where a reader could stumble. */
export function logLine({ level, event, ...fields }: LogEntry, at: Date, styles: Styles): string {
  const colour = { debug: styles.dim, info: styles.cyan, warn: styles.yellow, error: styles.red }[level]
  const pairs = Object.entries(fields).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${shown(value)}`],
  )
  return [styles.dim(at.toISOString()), colour(level.padEnd(5)), event, ...pairs].join(' ')
}

function shown(value: string | number | boolean): string {
  const text = printable(String(value))
  return /^[^\s"=\\]+$/u.test(text) ? text : printable(JSON.stringify(String(value)))
}
