/*
 * Every event that the commands print with `--json`, without the field `v`. The tables of docs/json.md are generated from
 * these schemas.
 */
import { z } from 'zod'

/** One of the events in a table. */
type EventOf<T extends Readonly<Record<string, z.ZodType>>> = {
  [K in keyof T]: { readonly event: K } & Readonly<z.infer<T[K]>>
}[keyof T]

const bytes = z.int().min(0)
const count = z.int().min(0)
const user = z.string().describe('the name of the user')
const server = z.string().describe('`HOST:PORT`')
const task = z.int().describe('the number of the task, as `osp tasks` prints it')
const file = z.string().describe('the path as it was given; the absolute path if this command was not given the file')
const givenFile = z.string().describe('the path as it was given')
const name = z.string().describe('the requested name on the server')
const acknowledged = bytes.describe('leading bytes that the server has acknowledged')
const durable = bytes.describe('leading bytes that survive a crash of the server')
const fingerprint = z
  .string()
  .optional()
  .describe("with TLS: the fingerprint of the certificate's public key, `SHA256:` and base64; otherwise absent")
const transferred = z
  .int()
  .describe('content bytes that this process sent and the server acknowledged, including repeated ones')

const code = z.string().describe('the error code, which is stable')
const text = z.string().describe('the reason in plain English, which may change')
const retry = z.enum(['never', 'later', 'automatic']).describe('whether the same command can succeed later')

/** Events about the connection, which every command of `osp` that connects prints. */
export const linkEvents = {
  waiting: z
    .strictObject({ server, code, text, retryMs: z.number().describe('milliseconds until the next attempt') })
    .describe('There is no connection to the server. The client retries.'),
  online: z.strictObject({ server }).describe('The server has accepted the login of this client.'),
} as const

export type LinkEvent = EventOf<typeof linkEvents>

/** The event of a command that has failed as a whole. */
const failedEvent = {
  failed: z.strictObject({ code, text, retry }).describe('The command has failed and ends.'),
} as const

export type FailedEvent = EventOf<typeof failedEvent>

const skipped = z
  .strictObject({ file: givenFile, text })
  .describe('An entry of a folder is not sent, because it is not a regular file.')

/** The events of `osp send`. */
export const sendEvents = {
  stored: z
    .strictObject({
      task,
      file,
      name,
      storedName: z
        .string()
        .describe('the name under which the server stores it; differs from `name` if the server renamed it'),
      replaced: z.boolean().describe('whether it replaced a stored file of this name'),
      size: z.int().describe('size of the file in bytes'),
      algorithm: z.enum(['sha256', 'md5', 'xxh128']).describe('the digest algorithm'),
      digest: z.string().describe('the digest of the whole file, in hexadecimal'),
      transferred,
    })
    .describe('The server has verified the file and stored it.'),
  failed: z
    .strictObject({
      task: task.nullable().describe('the number of the task; null if the file never became one'),
      file,
      name: name.nullable().describe('the requested name on the server; null if there is none'),
      code,
      text,
      retry,
      transferred,
    })
    .describe(
      'This file was not sent; the other files continue. If `task` is a number and `retry` is not `never`, the file ' +
        'remains a task.',
    ),
  cancelled: z
    .strictObject({ task, file, name })
    .describe('A task that this command was not given has been cancelled. The summary does not count it.'),
  paused: z
    .strictObject({ task, file, name })
    .describe('A task that this command would resume is paused, and remains paused.'),
  joined: z
    .strictObject({ text })
    .describe('Another `osp send` is running. It sends the files, and this command reports their results.'),
  progress: z
    .strictObject({
      task,
      file,
      name,
      state: z
        .enum(['sending', 'verifying'])
        .describe('`verifying`: the server has acknowledged every byte and compares the digest'),
      acknowledged,
      durable,
      size: z.int().describe('size of the file in bytes'),
      bytesPerSecond: z.int().nullable().describe('the rate of the last five seconds; null until it is known'),
      leftMs: z
        .int()
        .nullable()
        .describe('estimated milliseconds until the file is sent at this rate; null if unknown'),
    })
    .describe(
      'The progress of a file, at most once a second for each file. Omitted for files that take less than a second, if ' +
        'the reader is too slow, and after `joined`.',
    ),
  skipped,
  refused: z
    .strictObject({ task, file, name, code, text })
    .describe('The server does not accept the file at the moment. The client retries.'),
  ...linkEvents,
  summary: z
    .strictObject({
      stored: z.int().describe('files that were stored'),
      failed: z.int().describe('files that failed permanently, or never became a task'),
      unfinished: z
        .int()
        .describe('files that remain tasks: in progress or waiting when the command ended, or `failed` temporarily'),
      replaced: z.int().describe('stored files that replaced another file'),
      renamed: z.int().describe('stored files that the server renamed'),
      size: z.int().describe('bytes of the stored files'),
      transferred: z
        .int()
        .describe('content bytes that this process sent and the server acknowledged, for all files together'),
      seconds: z.number().describe('duration of the command in seconds'),
      exitCode: z.int().describe('the exit code of the command'),
    })
    .describe('The last event.'),
} as const

export type SendEvent = EventOf<typeof sendEvents>

/** The events of `osp tasks`, and of the commands that pause, continue and cancel tasks. */
export const taskEvents = {
  task: z
    .strictObject({
      task: z.int().describe('the number of the task'),
      file: z.string().describe('the absolute path of the file; `-` if the content was read from stdin'),
      name,
      state: z
        .enum(['waiting', 'sending', 'paused', 'cancelling', 'cancelled', 'failed', 'done'])
        .describe('`cancelled` is printed only by `osp cancel`, which removes the task'),
      acknowledged,
      durable,
      size: bytes.describe('size of the file in bytes; 0 until the file has been opened'),
      why: z.string().nullable().describe('why the task does not proceed; null if it proceeds or is done'),
      code: z.string().nullable().describe('the error code of that reason'),
      retryMs: z.number().nullable().describe('milliseconds until the next attempt; null if unknown'),
    })
    .describe('The current state of a task.'),
} as const

export type TaskEvent = EventOf<typeof taskEvents>

/** The events of `osp add`. */
export const addEvents = {
  ...taskEvents,
  skipped,
  failed: z.strictObject({ file: givenFile, code, text, retry }).describe('This file did not become a task.'),
} as const

export type AddEvent = EventOf<typeof addEvents>

/** The events of `osp msg`. */
export const msgEvents = {
  sent: z
    .strictObject({
      recipient: z.string().describe('a recipient, as it was given'),
      status: z
        .enum(['online', 'stored', 'unseen'])
        .describe(
          '`online`: a program of the recipient is listening; `stored`: the message waits for one; `unseen`: it waits, and ' +
            'no user of this name has logged in yet',
        ),
    })
    .describe('The server has stored the message for this recipient. It is printed for every recipient, or for none.'),
  failed: z
    .strictObject({
      code,
      text,
      retry,
      recipients: z.array(z.string()).describe('the recipients to which the error applies; empty if it applies to all'),
      outcome: z
        .enum(['not-sent', 'unknown'])
        .describe('`not-sent`: no recipient receives the message; `unknown`: the server may have stored it for all'),
    })
    .describe('The message was not sent, or its outcome is unknown.'),
  ...linkEvents,
} as const

export type MsgEvent = EventOf<typeof msgEvents>

/** The events of `osp listen`. */
export const listenEvents = {
  message: z
    .strictObject({
      seq: z.int().describe('the position in the mailbox; later messages have higher numbers'),
      id: z.string().describe('32 hexadecimal digits; together with the sender they identify the message'),
      from: z.string().describe('the sender'),
      sentAt: z.string().describe('when the server accepted the message: ISO 8601, UTC'),
      attempt: z.int().describe('the number of deliveries; if it is above 1, the message may have been printed before'),
      text: z.string().nullable().describe('the content if it is UTF-8; otherwise null'),
      content: z.string().nullable().describe('the content in base64 if it is not UTF-8; otherwise null'),
    })
    .describe('A message has arrived. It is acknowledged after this line has been written.'),
  ...linkEvents,
  ...failedEvent,
} as const

export type ListenEvent = EventOf<typeof listenEvents>

const node = z.int().describe('the number that the server has assigned to this registration of the user')

/** The events of `osp who`. */
export const whoEvents = {
  list: z
    .strictObject({
      members: z.array(z.strictObject({ user, node })).describe('each with `user` and `node`, sorted by name'),
    })
    .describe('The users that are online. It is printed once, first.'),
  here: z.strictObject({ user, node }).describe('With `--watch`: a user has come online.'),
  gone: z.strictObject({ user, node }).describe('With `--watch`: a user has gone offline.'),
  ...linkEvents,
  ...failedEvent,
} as const

export type WhoEvent = EventOf<typeof whoEvents>

/** The events of `osp login`. */
export const loginEvents = {
  'logged-in': z.strictObject({ server, user }).describe('The server has accepted the token, and it is stored.'),
  ...linkEvents,
  ...failedEvent,
} as const

export type LoginEvent = EventOf<typeof loginEvents>

/** The events of `osp logout`. */
export const logoutEvents = {
  'logged-out': z
    .strictObject({ server, user, removed: z.boolean().describe('whether a token was stored') })
    .describe('No token is stored any more.'),
} as const

export type LogoutEvent = EventOf<typeof logoutEvents>

/** The events of `ospd serve`. */
export const serveEvents = {
  ready: z
    .strictObject({
      host: z.string().describe('the address on which the daemon listens'),
      port: z.int().describe('the port on which the daemon listens; with `--port 0`, the assigned one'),
      data: z.string().describe('the data directory, as it was given'),
      fingerprint,
    })
    .describe('The daemon accepts connections.'),
} as const

export type ReadyEvent = EventOf<typeof serveEvents>

const runningUpload = z.strictObject({ user, name: z.string(), size: bytes, progress: bytes, durable: bytes })

/** The events of `ospd status`. */
export const statusEvents = {
  status: z
    .strictObject({
      pid: z.int().describe('the process id of the daemon'),
      host: z.string().describe('the address on which the daemon listens'),
      port: z.int().describe('the port on which the daemon listens'),
      fingerprint,
      uptimeMs: z.int().min(0).describe('milliseconds since the daemon started to accept connections'),
      links: count.describe('the number of clients that are connected'),
      online: z.array(user).describe('the users that are online, sorted; up to 10,000'),
      moreOnline: count.describe('the number of further users that are online'),
      uploads: z
        .array(runningUpload)
        .describe(
          'the uploads in progress, each with `user`, `name`, `size`, `progress` (leading bytes written) and `durable` ' +
            '(leading bytes that survive a crash); up to 1,000',
        ),
      moreUploads: count.describe('the number of further uploads in progress'),
      mailboxes: z
        .array(z.strictObject({ user, messages: count, bytes }))
        .describe(
          'the mailboxes with waiting messages, the fullest first, each with `user`, `messages` and `bytes`; up to 10,000',
        ),
      moreMailboxes: count.describe('the number of further mailboxes with waiting messages'),
      mailboxMessages: z.int().describe('the maximum number of messages in one mailbox'),
      mailboxBytes: z.int().describe('the maximum number of bytes in one mailbox'),
    })
    .describe('The state of the daemon.'),
} as const

export type Status = Readonly<z.infer<typeof statusEvents.status>>
export type StatusEvent = EventOf<typeof statusEvents>

const uploadName = z.string().describe('the requested name')

const upload = z.strictObject({
  user,
  name: uploadName,
  size: bytes.describe('size of the file in bytes'),
  durable: bytes.describe('leading bytes that are durable'),
  diskBytes: bytes.describe('bytes that the upload occupies on the disk'),
  idleMs: z.int().min(0).describe('milliseconds since the client last continued the upload'),
  running: z.boolean().describe('whether a client is sending it now'),
})

/** The events of `ospd uploads`. */
export const uploadsEvents = {
  upload: upload.describe('An unfinished upload. The upload that has been idle longest is printed first.'),
  removed: z.strictObject({ user, name: uploadName }).describe('An unfinished upload has been removed.'),
} as const

export type RemovedEvent = { readonly event: 'removed' } & z.infer<typeof uploadsEvents.removed>
export type ShownUpload = Readonly<z.infer<typeof upload>>

/** The reply of a daemon to a request for its unfinished uploads. `more` is the number of uploads that are not listed. */
export const uploadsAnswer = z.strictObject({ uploads: z.array(upload), more: count })

/** The reply of a daemon to a request to remove an unfinished upload. */
export const removedAnswer = z.strictObject({ removed: z.boolean() })

const token = z.string().describe('the token, which cannot be displayed again')

/** The events of `ospd user`. */
export const userEvents = {
  added: z.strictObject({ user, token }).describe('`add`: the user can log in with this token.'),
  rotated: z
    .strictObject({ user, token })
    .describe('`rotate`: the user can log in with this token; the previous one is no longer valid.'),
  removed: z.strictObject({ user }).describe('`remove`: the user can no longer log in.'),
  user: z
    .strictObject({
      user,
      since: z.iso.datetime().describe('when the user was added or received the current token'),
    })
    .describe('`list`: one for each user, sorted by name.'),
} as const

export type UserEvent = EventOf<typeof userEvents>
