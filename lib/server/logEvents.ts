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

type Words<S extends string> = S extends `${infer Word} ${infer Others}` ? Word | Words<Others> : S

/** Returns a function that makes an event of a level, its fields with spaces between them, and its description. */
const lineWith =
  (budget: Budget) =>
  <L extends LogEntry['level'], F extends string>(level: L, fields: F, says: string) => ({
    level,
    budget,
    fields: fields.split(' ') as unknown as readonly Words<F>[],
    says,
  })

const line = lineWith('none')
const userLine = lineWith('user')
const commonLine = lineWith('common')

/** The events that a server logs, with their fields, some of which can be absent. `docs/log.md` is generated from this table. */
export const logEvents = {
  'link-open': userLine('info', 'user from node', 'A client logged in.'),
  'link-refused': line(
    'warn',
    'user node from code text',
    'A client was refused: `user` is the name that it gave, and `code` is the reason. `rate-limited` is logged at most once a ' +
      'minute for each address. Without a `user`, `malformed` means a connection from a load balancer that sent no valid PROXY header.',
  ),
  'link-closed': userLine('info', 'user node from code text', 'The link of a logged-in client has ended.'),
  'user-slowed': userLine(
    'warn',
    'user code text',
    'A user exceeds the rate limits, so the server reads its links more slowly. Logged at most once a minute for each user.',
  ),
  'lines-left-out': line(
    'warn',
    'user from lines events',
    'There were too many lines about a user, from an address (for IPv6: a network), or about refused links. `lines` is the ' +
      'number of omitted lines, and `events` is the number for each event.',
  ),
  'listener-failed': commonLine(
    'error',
    'of text stack',
    'A listener of the event `of` threw an error or returned a promise that rejected.',
  ),
  'request-failed': userLine('error', 'user node from text stack', 'A request failed because of an internal error.'),

  'upload-stored': line(
    'info',
    'user node from name storedName replaced size algorithm digest recovered',
    'A file was verified and stored under its name, or under `storedName` if that is another one. If `replaced` is set, it ' +
      'replaced an older file. `node` and `from` are absent if the server completed the upload when it started. If `recovered` is set, an earlier ' +
      'server, or another server of the cluster, may have written this line before.',
  ),
  'upload-paused': userLine('info', 'user node from name progress size', 'A client paused an upload.'),
  'upload-cancelled': userLine('info', 'user node from name progress size', 'A client cancelled an unfinished upload.'),
  'upload-taken-over': userLine('info', 'user node from name former', 'A link took over an upload of node `former`.'),
  'upload-stalled': userLine('info', 'user name progress size', 'A stalled or long upload yielded to another user.'),
  'upload-refused': userLine(
    'warn',
    'user node from name code text',
    'The storage rejected an upload, or had no space for it. Logged once an hour for each upload and code.',
  ),
  'file-removed': userLine('info', 'user node from name', 'A client removed a stored file.'),
  'file-renamed': userLine('info', 'user node from name newName replaced', 'A client renamed a stored file.'),
  'file-messages-wait': line(
    'warn',
    'user code text recipients',
    'Messages about stored files of a user cannot be stored. Until they are, the server accepts no files of that user. ' +
      '`recipients` is absent if the reason does not depend on them, such as a full disk.',
  ),
  'stored-handler-failed': line(
    'warn',
    'seq from name attempt retryMs text',
    'The `onStored` function has failed for a stored file of the user `from`. It is called again after `retryMs`, which is absent ' +
      'after the last attempt.',
  ),
  'stored-file-set-aside': line(
    'warn',
    'seq from name text',
    'The last attempt of the `onStored` function for a stored file has failed. The file stays stored; `server.setAside` lists it.',
  ),
  'file-not-closed': userLine('warn', 'user name text', 'A stored file could not be closed after it was read.'),
  'upload-damaged': userLine('error', 'user name text', 'A partial file was damaged; only its intact part is kept.'),
  'upload-expired': userLine('warn', 'user name bytes', 'An unfinished upload exceeded the age limit and was removed.'),
  'upload-removed': line('info', 'user name bytes', 'The operator removed an unfinished upload. `bytes` were durable.'),
  'upload-not-expired': userLine('error', 'user name text', 'An old upload could not be removed.'),
  'uploads-not-swept': line('error', 'text', 'The search for old uploads failed.'),
  'upload-without-record': line(
    'warn',
    'file bytes removed',
    'A partial file exists without a record: the record is lost, or a crash interrupted the removal of the upload. An ' +
      'upload that continues under that name uses the file if the digests match. The file is removed after it was not ' +
      'written for the age limit of unfinished uploads, or at once if it is empty, published, or not a partial file.',
  ),
  'uploads-cut': line('warn', 'file offset bytes', 'A crash left an incomplete upload record, which was removed.'),
  'uploads-damaged': line('error', 'file offset bytes', 'Some upload records are damaged and cannot be read.'),
  'upload-not-closed': userLine('warn', 'user name text', 'A partial file could not be closed.'),
  'upload-not-recovered': userLine(
    'error',
    'user name text',
    'A verified upload could not be completed. The server tries again at least once an hour.',
  ),
  'checkpoint-failed': userLine(
    'error',
    'user name text',
    'Received bytes could not be made durable. Logged once an hour for each upload and code.',
  ),

  'registration-superseded': userLine(
    'info',
    'user node from former',
    'Another program of the user replaced the registration of the same device; `former` is the node that was registered before. `from` is absent ' +
      'if that program is connected to another server.',
  ),
  'device-forgotten': line(
    'info',
    'user device',
    'The server forgot a device: its user removed it, or it had not listened for the time that `--device-age` sets. `device` is empty if it ' +
      'has no name.',
  ),
  'message-set-aside': userLine('warn', 'user node from seq text', 'A recipient rejected a message; it was set aside.'),
  'messages-expired': commonLine(
    'warn',
    'user messages',
    'Expired messages were removed; `messages` is their number. Receipts of USER have the `user` `:receipts:USER`.',
  ),
  'mailbox-failed': userLine('error', 'user text', 'A mailbox could not be read or written.'),
  'mailboxes-cut': line('warn', 'file offset bytes', 'A crash left an incomplete message, which was removed.'),
  'mailboxes-damaged': line('error', 'file offset bytes', 'Some stored messages are damaged and cannot be read.'),
  'mailboxes-not-swept': line('error', 'text', 'Old messages could not be removed.'),
} as const satisfies Readonly<Record<string, LogEvent>>

type Events = typeof logEvents

/** A log line of an event in the table. */
export type ServerEntry = {
  [K in keyof Events]: { readonly event: K; readonly level: Events[K]['level'] } & {
    readonly [F in Events[K]['fields'][number]]?: string | number | boolean | undefined
  }
}[keyof Events]

/** Writes a log line of an event in the table. */
export type ServerLog = (entry: ServerEntry) => void
