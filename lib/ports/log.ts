/** One line of a log: what happened, to which thing. Never a token, never content. */
export interface LogEntry {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  /** A stable name in kebab case, such as `upload-stored`. */
  readonly event: string
  readonly [field: string]: string | number | boolean | undefined
}

/** Takes log entries; must not throw. */
export type Log = (entry: LogEntry) => void
