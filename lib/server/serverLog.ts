import { fixed } from '../limits.ts'
import type { Log, LogEntry } from '../ports/log.ts'
import { safeLog } from '../runtime/emitter.ts'
import type { Caller } from './app.ts'
import type { ServerLog } from './logEvents.ts'

/** A log for the server's lines: what comes from outside is cut in them, so that nobody fills the disk with a long word. */
export function serverLog(log?: Log): ServerLog {
  const safe = safeLog(log)
  return (entry) => {
    const fields = Object.entries(entry).map(([name, value]) => [name, bounded(value)])
    safe(Object.fromEntries(fields) as LogEntry)
  }
}

function bounded<T>(value: T): T | string {
  if (typeof value !== 'string' || value.length <= fixed.logFieldCharacters) return value
  return `${value.slice(0, fixed.logFieldCharacters).toWellFormed()}…`
}

/** The fields that say whose request it was. */
export function linkOf({ user, node, from }: Caller): Pick<Caller, 'user' | 'node' | 'from'> {
  return { user, node, from }
}
