import type { LogEntry } from '../ports/log.ts'

/**
 * What bounds the lines of an event: `user`, how many are about one user, and from one address; `common`, how many there are of
 * it, since its lines name users that a client can make up; `none`, nothing, since no client can cause more of it, or each
 * line counts.
 */
export type Budget = 'user' | 'common' | 'none'

interface LogEvent {
  readonly level: LogEntry['level']
  readonly budget: Budget
  readonly fields: readonly string[]
  /** When it is logged. */
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

/** Whose request it was: the user, the node of the link, and the address that it comes from. */
const link = ['user', 'node', 'from'] as const

/** Everything that a server logs, with its fields, of which some can be absent. `docs/log.md` is printed from it. */
export const logEvents = {
  'link-open': userLine('info', 'A client came in.', ...link),
  'link-refused': line(
    'warn',
    'A client was not let in: `user` is the name that it gave, and `code` why. That an address asks too much is logged once a ' +
      'minute.',
    ...link,
    ...(['code', 'text'] as const),
  ),
  'link-closed': userLine('info', 'A client that had come in is gone.', ...link, 'code', 'text'),
  'user-slowed': userLine(
    'warn',
    'A user sends more in a second than is read of one: their links are read more slowly. Once a minute and user.',
    ...(['user', 'code', 'text'] as const),
  ),
  'lines-left-out': line(
    'warn',
    'There were too many lines about a user, from an address (for IPv6: a network), or about refused links: `lines` were left ' +
      'out, and `events` says how many of which event.',
    ...(['user', 'lines', 'events', 'from'] as const),
  ),
  'listener-failed': commonLine(
    'error',
    'A listener of the server (`of` names its event) threw an error, or its promise was rejected; nothing else is affected.',
    ...(['of', 'text', 'stack'] as const),
  ),
  'request-failed': userLine('error', 'A request met a fault of the server.', ...link, 'text', 'stack'),

  'upload-stored': line(
    'info',
    'A file was verified and lies under its name: under `storedName` where that is another one, in place of an older ' +
      'file where `replaced`. Without `node` and `from` the server found it verified when it started.',
    ...link,
    ...(['name', 'storedName', 'replaced', 'size', 'algorithm', 'digest'] as const),
  ),
  'upload-paused': userLine('info', 'A client paused an upload.', ...link, 'name', 'progress', 'size'),
  'upload-cancelled': userLine(
    'info',
    'A client cancelled an unfinished upload; `progress` and `size` are there if it was open.',
    ...link,
    'name',
    'progress',
    'size',
  ),
  'upload-taken-over': userLine(
    'info',
    'A link goes on with what another link of the user was sending; `former` is the node that lost it.',
    ...link,
    'name',
    'former',
  ),
  'upload-stalled': userLine(
    'info',
    'An upload that had long not got further, or had long had its instance, left it to a user who holds fewer; it waits for its client.',
    ...(['user', 'name', 'progress', 'size'] as const),
  ),
  'upload-refused': userLine(
    'warn',
    'The storage could not accept an upload, or had no room for it. Logged once an hour for each upload and code.',
    ...link,
    ...failedUpload(),
  ),
  'upload-damaged': userLine('error', 'A partial file was damaged; it is received again from there.', ...ofUpload()),
  'upload-expired': userLine('warn', 'Nobody went on with an upload; it was removed.', 'user', 'name', 'bytes'),
  'upload-removed': line(
    'info',
    'The operator removed an unfinished upload; `bytes` of it were durable.',
    'user',
    'name',
    'bytes',
  ),
  'upload-not-expired': userLine('error', 'An old upload could not be removed.', ...ofUpload()),
  'uploads-not-swept': line('error', 'Old uploads could not be looked for.', 'text'),
  'upload-without-record': line(
    'warn',
    'A partial file exists without a record: the record is lost, or a crash interrupted the removal of the upload. An ' +
      'upload that continues under that name uses the file if the digests match. The file is removed after the age limit ' +
      'of unfinished uploads without a write; at once if it is no partial file, empty, or published.',
    ...(['file', 'bytes', 'removed'] as const),
  ),
  'uploads-cut': line('warn', 'The torn end of the records of uploads was cut off after a crash.', ...ofDamage()),
  'uploads-damaged': line('error', 'Some records of uploads cannot be read.', ...ofDamage()),
  'upload-not-closed': userLine('warn', 'A partial file could not be closed.', ...ofUpload()),
  'upload-not-recovered': userLine('error', 'What a crash interrupted could not be finished.', ...ofUpload()),
  'checkpoint-failed': userLine(
    'error',
    'Received bytes could not be made durable. Logged once an hour for each upload and code.',
    ...ofUpload(),
  ),

  'registration-superseded': userLine(
    'info',
    'Another program of the user listens now; `former` is the node that does so no more.',
    ...link,
    'former',
  ),
  'message-given-up': userLine('warn', 'A recipient cannot take a message; it was set aside.', ...link, 'seq', 'text'),
  'messages-expired': commonLine(
    'warn',
    'Messages were too old and are gone; `messages` is how many.',
    'user',
    'messages',
  ),
  'mailbox-failed': userLine('error', 'A mailbox could not be read or written.', 'user', 'text'),
  'mailboxes-cut': line('warn', 'The end of the messages, which a crash had torn, was cut off.', ...ofDamage()),
  'mailboxes-damaged': line('error', 'Some of the messages cannot be read.', ...ofDamage()),
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

/** One line of the table, as it is logged. */
export type ServerEntry = {
  [K in keyof Events]: { readonly event: K; readonly level: Events[K]['level'] } & {
    readonly [F in Events[K]['fields'][number]]?: string | number | boolean | undefined
  }
}[keyof Events]

/** Takes the lines of the table. */
export type ServerLog = (entry: ServerEntry) => void
