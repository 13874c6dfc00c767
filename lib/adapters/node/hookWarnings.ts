import type { Log } from '../../ports/log.ts'

/** The events that report an error of a function of the application. */
const hookEvents: ReadonlySet<string> = new Set([
  'handler-failed',
  'listener-failed',
  'request-failed',
  'stored-handler-failed',
])

/** Returns the log of a program that passes none. Emits a process warning for the first error of each kind. */
export function hookWarnings(): Log {
  const warned = new Set<string>()
  return ({ event, text, stack }) => {
    if (!hookEvents.has(event) || warned.has(event)) return
    warned.add(event)
    const detail = typeof stack === 'string' ? { detail: stack } : {}
    const warning = `${event}: ${text} (pass the option log to receive all errors)`
    process.emitWarning(warning, { type: 'OspdWarning', code: event, ...detail })
  }
}
