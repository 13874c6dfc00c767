import type { LogEntry } from 'ospd'
import type { UsersNews } from 'ospd/node'
import { printable, type Styles } from '../common/text.ts'

/** The log events of `ospd serve` itself. The tables of docs/log.md are generated from them. */
export const daemonEvents = {
  stopping: { level: 'info', fields: ['signal'], says: 'The daemon received SIGTERM or SIGINT and shuts down.' },
  reloading: {
    level: 'info',
    fields: ['signal'],
    says:
      'The daemon received SIGHUP. With TLS it reads the certificate and the key again. It reads the list of users after ' +
      'each change, without a signal.',
  },
  stopped: { level: 'info', fields: [], says: 'The daemon has ended.' },
  'log-dropped': {
    level: 'warn',
    fields: ['lines'],
    says: 'The log could not be written for a while. `lines` is the number of lines lost before this one.',
  },
  'no-control': {
    level: 'warn',
    fields: ['code', 'text'],
    says: 'The control socket cannot be created. `ospd status` and `ospd uploads` cannot reach this daemon.',
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
    says: 'No file descriptor is available, and the system refuses connections. Checked every second, logged once.',
  },
  'descriptors-free': { level: 'info', fields: [], says: 'File descriptors are available again.' },
  insecure: {
    level: 'warn',
    fields: ['text'],
    says: 'Other machines can reach this daemon in a way that only `--insecure` permits.',
  },
  'users-changed': {
    level: 'info',
    fields: ['user', 'how', 'more'],
    says:
      'A user was added or removed, or has a new token: `how` is `added`, `removed` or `rotated`. Up to a hundred changes ' +
      'at once have a line each; `more` is the number of further changes.',
  },
  'users-empty': { level: 'warn', fields: ['text'], says: 'The list of users is empty. All logins are rejected.' },
  'users-unreadable': {
    level: 'error',
    fields: ['text'],
    says: 'The list of users is missing, damaged, or cannot be read. All logins are rejected until it can be read again.',
  },
  'users-readable': {
    level: 'info',
    fields: ['users'],
    says: 'The list of users can be read again. `users` is the number of users in it.',
  },
  'tls-expiring': {
    level: 'warn',
    fields: ['expires', 'text'],
    says: 'The certificate has expired, or expires within 14 days. Checked when the daemon starts and at SIGHUP.',
  },
  'tls-reloaded': {
    level: 'info',
    fields: ['fingerprint'],
    says: 'After SIGHUP the certificate and the key were read again. New connections use them.',
  },
  'tls-not-reloaded': {
    level: 'error',
    fields: ['text'],
    says: 'After SIGHUP the certificate or the key could not be used. New connections use the previous ones.',
  },
} as const

/** Formats a log entry as a line: time, level, event, and fields as `key=value`, quoted if the value needs it. */
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

/** The maximum number of lines about the changes in one new version of the list of users. */
const mostLines = 100

/** Returns a function that logs the changes of the list of users, and once when it becomes unreadable and readable again. */
export function userChangeLogger(log: (entry: LogEntry) => void): (news: UsersNews) => void {
  let isUnreadable = false
  return (news) => {
    if (news.what === 'unreadable') {
      isUnreadable = true
      log({ level: 'error', event: 'users-unreadable', text: `all logins are rejected: ${news.why.message}` })
      return
    }
    const { users, changes } = news
    if (isUnreadable) log({ level: 'info', event: 'users-readable', users })
    isUnreadable = false
    for (const { user, how } of changes.slice(0, mostLines)) log({ level: 'info', event: 'users-changed', user, how })
    const more = changes.length - mostLines
    if (more > 0) log({ level: 'info', event: 'users-changed', more })
    if (users === 0)
      log({ level: 'warn', event: 'users-empty', text: 'the list of users is empty: all logins are rejected' })
  }
}
