import type { LogEntry } from '../ports/log.ts'

interface LogEvent {
  readonly level: LogEntry['level']
  readonly fields: readonly string[]
  /** When it is logged. */
  readonly says: string
}

const line = <L extends LogEntry['level'], F extends string>(level: L, says: string, ...fields: readonly F[]) => ({
  level,
  says,
  fields,
})

/** Whose request it was: the user, the node of the link, and the address that it comes from. */
const link = ['user', 'node', 'from'] as const

/** Everything that a server logs, with its fields, of which some can be absent. `docs/log.md` is printed from it. */
export const logEvents = {
  'link-open': line('info', 'A client came in.', ...link),
  'link-refused': line(
    'warn',
    'A client was not let in: `user` is the name that it gave, and `code` why. Where one address is refused again and again, ' +
      '`untold` says that more of it is not logged for a minute.',
    ...link,
    ...(['code', 'text', 'untold'] as const),
  ),
  'link-closed': line('info', 'A client that had come in is gone.', ...link, 'code', 'text'),
  'user-slowed': line(
    'warn',
    'A user sends more in a second than is read of one: their links are read more slowly. Once a minute and user.',
    ...(['user', 'code', 'text'] as const),
  ),
  'listener-failed': line(
    'error',
    'A listener of the server (`of` names its event) threw an error, or its promise was rejected; nothing else is affected.',
    ...(['of', 'text', 'stack'] as const),
  ),
  'request-failed': line('error', 'A request met a fault of the server.', ...link, 'text', 'stack'),

  'upload-stored': line(
    'info',
    'A file was verified and lies under its name: under `storedName` where that is another one, in place of an older ' +
      'file where `replaced`. Without `node` and `from` the server found it verified when it started.',
    ...link,
    ...(['name', 'storedName', 'replaced', 'size', 'algorithm', 'digest'] as const),
  ),
  'upload-paused': line('info', 'A client paused an upload.', ...link, 'name', 'progress', 'size'),
  'upload-cancelled': line(
    'info',
    'A client cancelled an unfinished upload; `progress` and `size` are there if it was open.',
    ...link,
    'name',
    'progress',
    'size',
  ),
  'upload-taken-over': line(
    'info',
    'A link goes on with what another link of the user was sending; `former` is the node that lost it.',
    ...link,
    'name',
    'former',
  ),
  'upload-stalled': line(
    'info',
    'An upload that had long not got further left its instance to a user who holds fewer; it waits for its client.',
    ...(['user', 'name', 'progress', 'size'] as const),
  ),
  'upload-refused': line(
    'warn',
    'The storage could not accept an upload, or had no room for it. Logged once an hour for each upload and code.',
    ...link,
    ...failedUpload(),
  ),
  'upload-damaged': line('error', 'A partial file was damaged; it is received again from there.', ...ofUpload()),
  'upload-expired': line('warn', 'Nobody went on with an upload; it was removed.', 'user', 'name', 'bytes'),
  'upload-removed': line(
    'info',
    'The operator removed an unfinished upload; `bytes` of it were durable.',
    'user',
    'name',
    'bytes',
  ),
  'upload-not-expired': line('error', 'An old upload could not be removed.', ...ofUpload()),
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
  'upload-not-closed': line('warn', 'A partial file could not be closed.', ...ofUpload()),
  'upload-not-recovered': line('error', 'What a crash interrupted could not be finished.', ...ofUpload()),
  'checkpoint-failed': line(
    'error',
    'Received bytes could not be made durable. Logged once an hour for each upload and code.',
    ...ofUpload(),
  ),

  'registration-superseded': line(
    'info',
    'Another program of the user listens now; `former` is the node that does so no more.',
    ...link,
    'former',
  ),
  'message-given-up': line('warn', 'A recipient cannot take a message; it was set aside.', ...link, 'seq', 'text'),
  'messages-expired': line('warn', 'Messages were too old and are gone; `messages` is how many.', 'user', 'messages'),
  'mailbox-failed': line('error', 'A mailbox could not be read or written.', 'user', 'text'),
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
