import type { Log, LogEntry } from 'ospd'
import type { UsersNews } from 'ospd/node'
import { printable, type Styles } from '../common/text.ts'

/** Returns a function that makes an event of this level from its space-separated fields and its description. */
const logged = (level: LogEntry['level']) => (fields: string, says: string) => ({
  level,
  fields: fields.split(' ').filter(Boolean),
  says,
})

const info = logged('info')
const warn = logged('warn')
const error = logged('error')

/** The log events of `ospd serve` itself. The tables of docs/log.md are generated from them. */
export const daemonEvents = {
  'health-listening': info('host port', 'The health port (`--health`) is open.'),
  stopping: info('signal', 'The daemon received SIGTERM or SIGINT and shuts down.'),
  draining: info(
    'drainMs',
    'The daemon still accepts clients for this time (`--drain`), but `/ready` returns 503. A second signal ends the wait.',
  ),
  reloading: info(
    'signal',
    'The daemon received SIGHUP. With TLS it reads the certificate and the key again. It reads the list of users after ' +
      'each change, without a signal.',
  ),
  stopped: info('', 'The daemon has ended.'),
  'log-dropped': warn('lines', 'The log could not be written for a while; `lines` is the number of lost lines.'),
  'no-control': warn(
    'code text',
    'The control socket cannot be created; `ospd status` and `ospd uploads` do not work. The daemon tries again every ten seconds.',
  ),
  'control-open': info('', 'The control socket has been created after `no-control`.'),
  'few-descriptors': warn(
    'descriptors links uploads text',
    'The process cannot open enough files for the configured limits; `links` and `uploads` are the reduced limits.',
  ),
  'descriptors-used-up': error(
    'text',
    'No file descriptor is available, and the system refuses connections. Checked every second, logged once.',
  ),
  'descriptors-free': info('', 'File descriptors are available again.'),
  exposed: warn('text', 'Other machines can reach this daemon in a way that only `--allow-plaintext` permits.'),
  'users-changed': info(
    'user how more',
    'A user was added or removed, or has a new token: `how` is `added`, `removed` or `rotated`. Up to a hundred changes ' +
      'at once have a line each; `more` is the number of further changes.',
  ),
  'users-empty': warn('text', 'The list of users is empty. All logins are rejected.'),
  'users-unreadable': error(
    'text',
    'The list of users is missing, damaged, or cannot be read. All logins are rejected until it can be read again.',
  ),
  'users-readable': info('users', 'The list of users can be read again. `users` is the number of users in it.'),
  'tls-expiring': warn(
    'expires text',
    'The certificate has expired, or expires within 14 days. Checked when the daemon starts and at SIGHUP.',
  ),
  'tls-reloaded': info('fingerprint', 'After SIGHUP the certificate and the key were read again, for new connections.'),
  'tls-not-reloaded': error(
    'text',
    'After SIGHUP the certificate or the key could not be used. New connections use the previous ones.',
  ),
  'cluster-entered': info(
    'server former',
    'The server entered the cluster with the number `server`. If it had lost its lease, `former` is its former number.',
  ),
  'cluster-database-lost': error(
    'text',
    'The database of the cluster has not renewed the lease of this server for 3 s. Logged once for each outage.',
  ),
  'cluster-database-back': info(
    'ms',
    'The database of the cluster responds again. `ms` is the length of the outage in milliseconds.',
  ),
  'cluster-lease-lost': error(
    'server text',
    'This server could not renew its lease for 30 s, or another server declared it dead. It ends its links, and enters the ' +
      'cluster again with a new number.',
  ),
  'cluster-database-went-back': error(
    'server messages text',
    'The database of the cluster has lost committed transactions, for example in a failover to an asynchronous standby. ' +
      '`messages` is the number of missing messages that the server with the number `server` had stored: each was ' +
      'acknowledged or is sent again. The server ends its links, and enters the cluster again with a new number.',
  ),
  'cluster-server-dead': warn(
    'server',
    'This server declared another server dead, because the lease of that server was over. `server` is the number of that server.',
  ),
}

/** Formats a log entry as a line: time, level, event, and fields as `key=value`, quoted if the value needs it. */
export function formatLogEntry({ level, event, ...fields }: LogEntry, at: Date, styles: Styles): string {
  const colour = { debug: styles.dim, info: styles.cyan, warn: styles.yellow, error: styles.red }[level]
  const pairs = Object.entries(fields).filter(([, value]) => value !== undefined)
  const texts = pairs.map(([key, value]) => `${key}=${valueText(String(value))}`)
  return [styles.dim(at.toISOString()), colour(level.padEnd(5)), event, ...texts].join(' ')
}

function valueText(value: string): string {
  const text = printable(value)
  return /^[^\s"=\\]+$/u.test(text) ? text : printable(JSON.stringify(value))
}

/** The maximum number of lines about the changes in one new version of the list of users. */
const mostLines = 100

/** Returns a function that logs the changes of the list of users, and once when it becomes unreadable and readable again. */
export function userChangeLogger(log: Log): (news: UsersNews) => void {
  let isUnreadable = false
  return (news) => {
    if (news.what === 'unreadable') {
      isUnreadable = true
      return log({ level: 'error', event: 'users-unreadable', text: `all logins are rejected: ${news.why.message}` })
    }
    const { users, changes } = news
    if (isUnreadable) log({ level: 'info', event: 'users-readable', users })
    isUnreadable = false
    for (const { user, how } of changes.slice(0, mostLines)) log({ level: 'info', event: 'users-changed', user, how })
    const more = changes.length - mostLines
    if (more > 0) log({ level: 'info', event: 'users-changed', more })
    const text = 'the list of users is empty: all logins are rejected'
    if (users === 0) log({ level: 'warn', event: 'users-empty', text })
  }
}
