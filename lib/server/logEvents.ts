import type { LogEntry } from '../ports/log.ts'

/**
 * The limit for the lines of an event. `user` limits the lines about one user, and from one address. `common` limits all lines
 * of the event, because they name users that a client can make up. `none` sets no limit, because clients cannot cause more
 * lines, or because each line is needed.
 */
export type Budget = 'user' | 'common' | 'none'

interface LogEvent {
  readonly level: LogEntry['level']
  readonly budget: Budget
  readonly fields: readonly string[]
  /** When the event is logged, as docs/log.md says it. */
  readonly says: string
}

const lineWith =
  (budget: Budget) =>
  <L extends LogEntry['level'], F extends string>(level: L, says: string, ...fields: readonly F[]) => ({
    level,
    budget,
    says,
    fields,
  })

const line = lineWith('none')
const userLine = lineWith('user')
const commonLine = lineWith('common')

/** The fields for the link of a request: its user, its node, and the address of the client. */
const link = ['user', 'node', 'from'] as const

/** The events that a server logs, with their fields, some of which can be absent. `docs/log.md` is generated from this table. */
export const logEvents = {
  'link-open': userLine('info', 'A client logged in.', ...link),
  'link-refused': line(
    'warn',
    'A client was refused: `user` is the name that it gave, and `code` is the reason. `rate-limited` is logged at most once a ' +
      'minute for each address.',
    ...link,
    ...(['code', 'text'] as const),
  ),
  'link-closed': userLine('info', 'The link of a logged-in client has ended.', ...link, 'code', 'text'),
  'user-slowed': userLine(
    'warn',
    'A user exceeds the rate limits, so the server reads the links of this user more slowly. Logged at most once a minute for each user.',
    ...(['user', 'code', 'text'] as const),
  ),
  'lines-left-out': line(
    'warn',
    'There were too many lines about a user, from an address (for IPv6: a network), or about refused links. `lines` is the ' +
      'number of omitted lines, and `events` is the number for each event.',
    ...(['user', 'lines', 'events', 'from'] as const),
  ),
  'listener-failed': commonLine(
    'error',
    'A listener of the server (`of` names its event) threw an error, or its promise was rejected. The server continues.',
    ...(['of', 'text', 'stack'] as const),
  ),
  'request-failed': userLine(
    'error',
    'A request failed because of an internal error of the server.',
    ...link,
    'text',
    'stack',
  ),

  'upload-stored': line(
    'info',
    'A file was verified and stored under its name, or under `storedName` if that is another one. If `replaced` is set, it ' +
      'replaced an older file. `node` and `from` are absent if the server completed the upload when it started.',
    ...link,
    ...(['name', 'storedName', 'replaced', 'size', 'algorithm', 'digest'] as const),
  ),
  'upload-paused': userLine('info', 'A client paused an upload.', ...link, 'name', 'progress', 'size'),
  'upload-cancelled': userLine(
    'info',
    'A client cancelled an unfinished upload; `progress` and `size` are present if it was open.',
    ...link,
    'name',
    'progress',
    'size',
  ),
  'upload-taken-over': userLine(
    'info',
    'A link continues an upload of another link of the same user; `former` is the node of that other link.',
    ...link,
    'name',
    'former',
  ),
  'upload-stalled': userLine(
    'info',
    'An upload without progress, or one that held its instance for a long time, yielded the instance to a user with fewer uploads. It waits for its client.',
    ...(['user', 'name', 'progress', 'size'] as const),
  ),
  'upload-refused': userLine(
    'warn',
    'The storage rejected an upload, or had no space for it. Logged once an hour for each upload and code.',
    ...link,
    ...failedUpload(),
  ),
  'upload-damaged': userLine(
    'error',
    'A partial file was damaged; the server receives it again from the last intact position.',
    ...ofUpload(),
  ),
  'upload-expired': userLine(
    'warn',
    'An unfinished upload exceeded the age limit without progress and was removed.',
    'user',
    'name',
    'bytes',
  ),
  'upload-removed': line(
    'info',
    'The operator removed an unfinished upload; `bytes` is the number of its durable bytes.',
    'user',
    'name',
    'bytes',
  ),
  'upload-not-expired': userLine('error', 'An old upload could not be removed.', ...ofUpload()),
  'uploads-not-swept': line('error', 'The search for old uploads failed.', 'text'),
  'upload-without-record': line(
    'warn',
    'A partial file exists without a record: the record is lost, or a crash interrupted the removal of the upload. An ' +
      'upload that continues under that name uses the file if the digests match. The file is removed after it was not ' +
      'written for the age limit of unfinished uploads, or at once if it is empty, published, or not a partial file.',
    ...(['file', 'bytes', 'removed'] as const),
  ),
  'uploads-cut': line(
    'warn',
    'The server removed the incomplete end of the upload records after a crash.',
    ...ofDamage(),
  ),
  'uploads-damaged': line('error', 'Some upload records are damaged and cannot be read.', ...ofDamage()),
  'upload-not-closed': userLine('warn', 'A partial file could not be closed.', ...ofUpload()),
  'upload-not-recovered': userLine(
    'error',
    'An upload that a crash interrupted could not be completed.',
    ...ofUpload(),
  ),
  'checkpoint-failed': userLine(
    'error',
    'Received bytes could not be made durable. Logged once an hour for each upload and code.',
    ...ofUpload(),
  ),

  'registration-superseded': userLine(
    'info',
    'Another program of the user replaced the registration; `former` is the node that was registered before.',
    ...link,
    'former',
  ),
  'message-given-up': userLine(
    'warn',
    'A recipient could not accept a message, and the server set the message aside.',
    ...link,
    'seq',
    'text',
  ),
  'messages-expired': commonLine(
    'warn',
    'Messages exceeded the age limit and were removed; `messages` is their number.',
    'user',
    'messages',
  ),
  'mailbox-failed': userLine('error', 'A mailbox could not be read or written.', 'user', 'text'),
  'mailboxes-cut': line(
    'warn',
    'The server removed the incomplete end of the stored messages after a crash.',
    ...ofDamage(),
  ),
  'mailboxes-damaged': line('error', 'Some stored messages are damaged and cannot be read.', ...ofDamage()),
  'mailboxes-not-swept': line('error', 'Old messages could not be removed.', 'text'),
} as const satisfies Readonly<Record<string, LogEvent>>

function ofUpload() {
  return ['user', 'name', 'text'] as const
}

function failedUpload() {
  return ['name', 'code', 'text'] as const
}

function ofDamage() {
  return ['file', 'offset', 'bytes'] as const
}

type Events = typeof logEvents

/** A log line of an event in the table. */
export type ServerEntry = {
  [K in keyof Events]: { readonly event: K; readonly level: Events[K]['level'] } & {
    readonly [F in Events[K]['fields'][number]]?: string | number | boolean | undefined
  }
}[keyof Events]

/** Writes a log line of an event in the table. */
export type ServerLog = (entry: ServerEntry) => void
