import type { LogEntry } from 'ospd'
import type { UsersNews } from 'ospd/node'
import { printable, type Styles } from '../common/text.ts'

/** What `ospd serve` itself logs, besides the lines of the server; `docs/log.md` is printed from it. */
export const daemonEvents = {
  stopping: { level: 'info', fields: ['signal'], says: 'The daemon was told to end, and does so cleanly.' },
  reloading: {
    level: 'info',
    fields: ['signal'],
    says: 'The daemon received SIGHUP. With TLS it reads certificate and key again. It reads the list of users after each change without a signal.',
  },
  stopped: { level: 'info', fields: [], says: 'The daemon has ended.' },
  'log-dropped': {
    level: 'warn',
    fields: ['lines'],
    says: 'The log could not be written for a while. `lines` is the number of lines that are missing before this one.',
  },
  'no-control': {
    level: 'warn',
    fields: ['code', 'text'],
    says: 'There is no control socket: `ospd status` does not reach this daemon.',
  },
  'few-descriptors': {
    level: 'warn',
    fields: ['descriptors', 'links', 'uploads', 'text'],
    says:
      'The process cannot open enough files for the configured links and uploads; `links` and `uploads` are the reduced ' +
      'limits.',
  },
  'descriptors-used-up': {
    level: 'error',
    fields: ['text'],
    says: 'No file descriptor is left, and the system refuses connections. Checked every second, logged once.',
  },
  'descriptors-free': { level: 'info', fields: [], says: 'File descriptors are available again.' },
  insecure: {
    level: 'warn',
    fields: ['text'],
    says: 'Other machines reach this daemon in a way that only `--insecure` allows.',
  },
  'users-changed': {
    level: 'info',
    fields: ['user', 'how', 'more'],
    says:
      'A user was added or removed, or has a new token: `how` is `added`, `removed` or `rotated`. Of a hundred changes at ' +
      'once each has a line; `more` is how many there are beyond.',
  },
  'users-empty': { level: 'warn', fields: ['text'], says: 'The list of users has nobody in it: nobody is let in.' },
  'users-unreadable': {
    level: 'error',
    fields: ['text'],
    says: 'The list of users is damaged, gone, or cannot be read: nobody is let in until it is well.',
  },
  'users-readable': { level: 'info', fields: ['users'], says: 'The list of users is well again, with so many in it.' },
  'tls-expiring': {
    level: 'warn',
    fields: ['expires', 'text'],
    says: 'The certificate that is shown has expired, or does so within 14 days; looked at when the daemon starts and at SIGHUP.',
  },
  'tls-reloaded': {
    level: 'info',
    fields: ['fingerprint'],
    says: 'At SIGHUP certificate and key were read again, and new links are shown them.',
  },
  'tls-not-reloaded': {
    level: 'error',
    fields: ['text'],
    says: 'At SIGHUP they could not be used: new links are shown those from before.',
  },
} as const

/** A log entry as one line: time, level, event, and its fields as `key=value`, quoted where a reader could stumble. */
export function formatLogEntry({ level, event, ...fields }: LogEntry, at: Date, styles: Styles): string {
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

/** Somebody can put a list of thousands in the place of another one: so many changes of one time have a line each. */
const mostLines = 100

/** Logs what becomes of the list of users: each change, and once when nobody comes in by it and when they do again. */
export function userChangeLogger(log: (entry: LogEntry) => void): (news: UsersNews) => void {
  let isUnreadable = false
  return (news) => {
    if (news.what === 'unreadable') {
      isUnreadable = true
      log({ level: 'error', event: 'users-unreadable', text: `nobody is let in: ${news.why.message}` })
      return
    }
    const { users, changes } = news
    if (isUnreadable) log({ level: 'info', event: 'users-readable', users })
    isUnreadable = false
    for (const { user, how } of changes.slice(0, mostLines)) log({ level: 'info', event: 'users-changed', user, how })
    const more = changes.length - mostLines
    if (more > 0) log({ level: 'info', event: 'users-changed', more })
    if (users === 0) log({ level: 'warn', event: 'users-empty', text: 'the list of users is empty: nobody is let in' })
  }
}
