// Every event that the commands print with --json, without the field v. docs/json.md is generated from these schemas.
import * as z from 'zod/mini'
import { clusterEvents } from '../cluster/clusterEvents.ts'
import { deviceEvents } from '../devices/deviceEvents.ts'
import {
  handling,
  listedReceipt,
  messageId,
  messageIds,
  outcome,
  programEnd,
  queuedMessage,
  receipt,
  recipient,
  refusedMessage,
} from '../listen/messageEvents.ts'
import { eventFields } from './eventFields.ts'

const { string, whole, event, bytes, count } = eventFields
const user = string('the name of the user')
const server = string('`HOST:PORT`')
const context = string('the name of the context: `USER@HOST:PORT`')
const task = whole('the number of the task, as `osp tasks` prints it')
const file = string('the path as it was given; the absolute path if this command was not given the file')
const givenFile = string('the path as it was given')
const name = string('the requested name on the server')
const named = { task, file, name } as const
const acknowledged = bytes.check(z.describe('leading bytes that the server has acknowledged'))
const durable = bytes.check(z.describe('leading bytes that survive a crash of the server'))
const fingerprint = z
  .optional(z.string())
  .check(
    z.describe("with TLS: the fingerprint of the certificate's public key, `SHA256:` and base64; otherwise absent"),
  )
const fileSize = whole('size of the file in bytes')
const transferred = whole('content bytes that this process sent and the server acknowledged, including repeated ones')

const code = string('the error code, which is stable')
const text = string('the reason in plain English, which may change')
const retry = z.enum(['never', 'later', 'automatic']).check(z.describe('whether the same command can succeed later'))
const error = { code, text, retry } as const

/** Events about the connection, which every command of `osp` that connects prints. */
const linkEvents = {
  waiting: event('There is no connection to the server. The client retries.', {
    server,
    code,
    text,
    retryMs: z.number().check(z.describe('milliseconds until the next attempt')),
  }),
  online: event('The server has accepted the login of this client.', { server }),
} as const

/** Events of the commands that send the messages of the outbox. */
const outboxEvents = {
  'message-refused': event(
    'The server has permanently refused a message of the outbox, or its outcome is unknown. It is no longer in the outbox.',
    { ...refusedMessage, code, text },
  ),
} as const

const storedName = string('the name on the server')
const version = string('identifies the content; it changes when the file is replaced')
const time = z.iso.datetime()
const algorithm = z.enum(['sha256', 'md5', 'xxh128']).check(z.describe('the digest algorithm'))
const digest = string('the digest of the whole file, in hexadecimal')
const seconds = z.number().check(z.describe('duration of the command in seconds'))
const exitCode = whole('the exit code of the command')
const received = whole('content bytes received')
const localFile = string('the path of the local file; `-` for stdout')
const bytesPerSecond = z
  .nullable(z.int())
  .check(z.describe('the rate of the last five seconds; null until it is known'))
const leftMs = z
  .nullable(z.int())
  .check(z.describe('estimated milliseconds until the end at this rate; null if unknown'))

/** A message, as `osp listen` and `osp inbox` print it. */
const messageFields = {
  seq: whole('the position in the mailbox; later messages have higher numbers'),
  id: string('32 hexadecimal digits; together with the sender they identify the message'),
  from: string('the sender'),
  sentAt: string('when the server accepted the message: ISO 8601, UTC'),
  headers: z.record(z.string(), z.string()).check(z.describe('the headers that the sender added: strings by key')),
  inReplyTo: z
    .nullable(z.string())
    .check(z.describe('the id of the message to which this one replies; otherwise null')),
  text: z.nullable(z.string()).check(z.describe('the content if it is UTF-8; otherwise null')),
  content: z.nullable(z.string()).check(z.describe('the content in base64 if it is not UTF-8; otherwise null')),
  file: z
    .nullable(
      z.strictObject({
        owner: string('the user whose file it is'),
        name: storedName,
        size: fileSize,
        modified: time,
        version,
        algorithm,
        digest,
        metadata: z.record(z.string(), z.string()),
      }),
    )
    .check(z.describe('the stored file that the message refers to; null if it refers to none')),
} as const

/** A failure that concerns one file of the operands. */
const failedFile = event(
  'The command failed for this file. It continues with the others, unless there is no connection or the login is rejected.',
  { name: string('the name of the file or folder on the server'), ...error },
)

const failed = event('The command has failed and ends.', error)
const skipped = event('An entry of a folder is not sent, because it is not a regular file.', { file: givenFile, text })

const node = whole('the number that the server has assigned to this registration of the user')
const token = string('the token, which cannot be displayed again')
const runningUpload = z.strictObject({ user, name: z.string(), size: bytes, progress: bytes, durable: bytes })
const uploadName = string('the requested name')

const upload = z.strictObject({
  user,
  name: uploadName,
  size: bytes.check(z.describe('size of the file in bytes')),
  durable: bytes.check(z.describe('leading bytes that are durable')),
  diskBytes: bytes.check(z.describe('bytes that the upload occupies on the disk')),
  idleMs: z.int().check(z.minimum(0)).check(z.describe('milliseconds since the client last continued the upload')),
  running: z.boolean().check(z.describe('whether a client is sending it now')),
})

export type ShownUpload = Readonly<z.infer<typeof upload>>

/** The reply of a daemon to a request for its unfinished uploads. `more` is the number of uploads that are not listed. */
export const uploadsAnswer = z.strictObject({ uploads: z.array(upload), more: count })

/** The reply of a daemon to a request to remove an unfinished upload. */
export const removedAnswer = z.strictObject({ removed: z.boolean() })

const taskEvent = event('The current state of a task.', {
  task: whole('the number of the task'),
  file: string('the absolute path of the file; `-` if the content was read from stdin'),
  name,
  state: z
    .enum(['waiting', 'sending', 'paused', 'cancelling', 'cancelled', 'failed', 'done'])
    .check(z.describe('`cancelled` is printed only by `osp cancel`, which removes the task')),
  acknowledged,
  durable,
  size: bytes.check(z.describe('size of the file in bytes; 0 until the file has been opened')),
  code: z
    .nullable(z.string())
    .check(z.describe('the error code if the task does not proceed; null if it proceeds or is done')),
  text: z.nullable(z.string()).check(z.describe('the reason in plain English, which may change')),
  retryMs: z.nullable(z.number()).check(z.describe('milliseconds until the next attempt; null if unknown')),
})

/** The state of a daemon, which is also the reply to a request for it. */
export const statusEvent = event('The state of the daemon.', {
  pid: whole('the process id of the daemon'),
  host: string('the address on which the daemon listens'),
  port: whole('the port on which the daemon listens'),
  fingerprint,
  uptimeMs: count.check(z.describe('milliseconds since the daemon started to accept connections')),
  links: count.check(z.describe('the number of clients that are connected')),
  online: z.array(user).check(z.describe('the users who are online, sorted; up to 10,000')),
  moreOnline: count.check(z.describe('the number of further users who are online')),
  uploads: z
    .array(runningUpload)
    .check(
      z.describe(
        'the uploads in progress, each with `user`, `name`, `size`, `progress` (leading bytes written) and `durable` ' +
          '(leading bytes that survive a crash); up to 1,000',
      ),
    ),
  moreUploads: count.check(z.describe('the number of further uploads in progress')),
  mailboxes: z
    .array(z.strictObject({ user, messages: count, bytes }))
    .check(
      z.describe(
        'mailboxes with waiting messages, the fullest first, with `user`, `messages` and `bytes`; up to 10,000',
      ),
    ),
  moreMailboxes: count.check(z.describe('the number of further mailboxes with waiting messages')),
  mailboxMessages: whole('the maximum number of messages in one mailbox'),
  mailboxBytes: whole('the maximum number of bytes in one mailbox'),
  problem: z
    .optional(z.string())
    .check(
      z.describe(
        'the reason why the mailboxes are unknown, for example that the database of the cluster does not respond; ' +
          'absent if they are known',
      ),
    ),
})

export type Status = Readonly<z.infer<typeof statusEvent>>

/** The events of each command, by the name of the command. */
export const commandEvents = {
  send: {
    stored: event('The server has verified the file and stored it.', {
      ...named,
      storedName: string('the name under which the server stores it; differs from `name` if the server renamed it'),
      replaced: z.boolean().check(z.describe('whether it replaced a stored file of this name')),
      size: fileSize,
      algorithm,
      digest,
      messageIds,
      unseen: z.array(user).check(z.describe('the users of `--to` under whose names no user has logged in yet')),
      transferred,
    }),
    handled: event(
      'With `--wait handled`: the outcome of the message about the file for this user; `:stored` stands for the program that embeds the server.',
      { ...named, ...outcome },
    ),
    failed: event(
      'This file was not sent; the other files continue. If `task` is a number and `retry` is not `never`, the file ' +
        'remains a task.',
      {
        task: z.nullable(task).check(z.describe('the number of the task; null if the file never became one')),
        file,
        name: z.nullable(name).check(z.describe('the requested name on the server; null if there is none')),
        ...error,
        transferred,
      },
    ),
    cancelled: event('A task that was not given to this command was cancelled. The summary does not count it.', named),
    paused: event('A task that this command would resume is paused, and remains paused.', named),
    joined: event('Another `osp send` is running. It sends the files, and this command reports the results.', { text }),
    progress: event(
      'The progress of a file, at most once a second for each file. Omitted for files that take less than a second, if ' +
        'the reader is too slow, and after `joined`.',
      {
        ...named,
        state: z
          .enum(['sending', 'verifying'])
          .check(z.describe('`verifying`: the server has acknowledged every byte and compares the digest')),
        acknowledged,
        durable,
        size: fileSize,
        bytesPerSecond,
        leftMs,
      },
    ),
    skipped,
    refused: event('The server does not accept the file at the moment. The client retries.', { ...named, code, text }),
    ...outboxEvents,
    'message-deferred': event(
      'Without FILE: the server has temporarily refused a message of the outbox, where it waits.',
      { ...refusedMessage, code, text },
    ),
    ...linkEvents,
    summary: event('The last event.', {
      stored: whole('files that were stored'),
      failed: whole('files that failed permanently, or never became a task'),
      unfinished: whole('files that remain tasks: in progress or waiting at the end, or `failed` temporarily'),
      replaced: whole('stored files that replaced another file'),
      renamed: whole('stored files that the server renamed'),
      size: whole('bytes of the stored files'),
      transferred: whole('content bytes that this process sent and the server acknowledged, for all files together'),
      seconds,
      exitCode,
    }),
  },
  ls: {
    file: event('A stored file.', {
      name: storedName,
      size: fileSize,
      modified: time.check(z.describe('the modification time of the content: ISO 8601, UTC')),
      stored: time.check(z.describe('when the server stored the file: ISO 8601, UTC')),
      version,
      algorithm: z
        .nullable(algorithm)
        .check(z.describe('the digest algorithm; null if the server does not know the digest')),
      digest: z.nullable(digest).check(z.describe('the digest of the whole file, in hexadecimal')),
      metadata: z
        .record(z.string(), z.string())
        .check(z.describe('the metadata that the sender stored with the file: strings by key')),
    }),
    ...linkEvents,
    failed,
  },
  get: {
    saved: event('The file is complete, verified and durable.', {
      file: localFile,
      name: storedName,
      version,
      size: fileSize,
      algorithm,
      digest,
      transferred: received.check(z.describe('content bytes received; 0 if the local file already had the content')),
    }),
    failed: event('This file was not saved; the other files continue.', {
      file: string('the path of the local file, or of the folder whose files could not be listed; `-` for stdout'),
      name: z.nullable(string('the name on the server; null if `-r` without NAME could not list the files')),
      ...error,
      transferred: received,
    }),
    progress: event(
      'The progress of a file, at most once a second for each file. Omitted for files that take less than a second, and if ' +
        'the reader is too slow.',
      {
        file: localFile,
        name: storedName,
        state: z
          .enum(['receiving', 'verifying'])
          .check(z.describe('`verifying`: all content has arrived, and its digest is being checked')),
        received: bytes.check(z.describe('leading bytes of the file received so far')),
        size: fileSize,
        bytesPerSecond,
        leftMs,
      },
    ),
    refused: event('The server temporarily refuses to return the file. The client retries.', {
      file: localFile,
      name: storedName,
      code,
      text,
    }),
    ...linkEvents,
    summary: event('The last event.', {
      saved: whole('files that were saved'),
      failed: whole('files that failed'),
      unfinished: whole('files that were in progress or waiting at the end'),
      size: whole('bytes of the saved files'),
      transferred: whole('content bytes received, for all files together'),
      seconds,
      exitCode,
    }),
  },
  rm: { removed: event('The file was removed.', { name: storedName }), failed: failedFile, ...linkEvents },
  mv: {
    renamed: event('The file has its new name.', {
      name: string('the former name on the server'),
      newName: string('the new name on the server'),
      replaced: z.boolean().check(z.describe('whether a file that had the new name was replaced')),
    }),
    ...linkEvents,
    failed,
  },
  tasks: { task: taskEvent },
  add: { task: taskEvent, skipped, failed: event('This file did not become a task.', { file: givenFile, ...error }) },
  msg: {
    queued: event(
      'With `--queue`: the message was not sent or was temporarily refused, and waits in the outbox. Printed for each recipient.',
      { id: messageId, recipient },
    ),
    sent: event(
      'The server has stored the message for this recipient. This event is printed for every recipient, or for none.',
      {
        id: messageId,
        recipient,
        status: z
          .enum(['online', 'stored', 'unseen'])
          .check(
            z.describe(
              '`online`: a program of the recipient is listening; `stored`: the message waits for one; `unseen`: it waits, and ' +
                'no user of this name has logged in yet',
            ),
          ),
      },
    ),
    receipt: event('With `--receipt`: the outcome of the message for this recipient.', receipt),
    failed: event('The message was not sent, its outcome is unknown, or its receipts have not arrived.', {
      ...error,
      recipients: z
        .array(z.string())
        .check(z.describe('the recipients to which the error applies; empty if it applies to all')),
      outcome: z
        .enum(['not-sent', 'unknown', 'queued', 'stored'])
        .check(
          z.describe(
            '`not-sent`: no recipient receives the message; `unknown`: the server may have stored it for all; `queued`, with ' +
              '`--queue`: it waits in the outbox; `stored`, with `--receipt`: the server has stored the message, and keeps its receipts',
          ),
        ),
    }),
    ...outboxEvents,
    ...linkEvents,
  },
  listen: {
    message: event('A message has arrived. It is acknowledged after this line has been written.', {
      ...messageFields,
      attempt: whole('the number of deliveries; if it is above 1, the message may have been printed before'),
      saved: z
        .nullable(z.string())
        .check(z.describe('with `--save`: the path of the file; null if there is none, or it is no longer available')),
    }),
    receipt: event('With `--receipts`: a receipt of a message that the user has sent.', listedReceipt),
    handled: event('With `--exec`: the program has exited with 0, and the message was acknowledged.', {
      ...handling,
      result: string('the first 4 KiB of the stdout of the program, without trailing newlines'),
    }),
    retried: event('With `--exec`: the program has failed and will be run again for the message.', {
      ...handling,
      ...programEnd,
    }),
    'set-aside': event(
      'With `--exec`: the program has exited with 65, or failed `--tries` times, and the server sets the message aside.',
      {
        ...handling,
        ...programEnd,
      },
    ),
    ...outboxEvents,
    ...linkEvents,
    failed,
  },
  inbox: {
    message: event('A waiting message or, with `--set-aside`, a message that was set aside.', {
      ...messageFields,
      setAside: z.boolean().check(z.describe('whether the message was set aside')),
    }),
    returned: event('The message was returned to the mailbox. It now has another number.', {
      seq: whole('the number that was specified'),
    }),
    removed: event('The message was removed.', { seq: whole('the number of the message') }),
    ...linkEvents,
    failed,
  },
  devices: {
    ...deviceEvents,
    ...linkEvents,
    failed,
  },
  who: {
    list: event('The users who are online. This event is printed once, first.', {
      members: z.array(z.strictObject({ user, node })).check(z.describe('each with `user` and `node`, sorted by name')),
    }),
    here: event('With `--watch`: a user has come online.', { user, node }),
    gone: event('With `--watch`: a user has gone offline.', { user, node }),
    ...linkEvents,
    failed,
  },
  outbox: {
    'queued-message': event('A message in the outbox. Messages are printed in the order in which they are sent.', {
      ...queuedMessage,
      code: z
        .nullable(z.string())
        .check(z.describe('the error code if the server has temporarily refused it; otherwise null')),
      text: z.nullable(z.string()).check(z.describe('the reason in plain English, which may change')),
    }),
    removed: event('With `--remove`: a message was removed from the outbox.', queuedMessage),
  },
  login: {
    'logged-in': event('The token is accepted and stored.', { server, user, context }),
    ...linkEvents,
    failed,
  },
  logout: {
    'logged-out': event('No token is stored any more.', {
      server,
      user,
      removed: z.boolean().check(z.describe('whether a token was stored')),
    }),
  },
  context: {
    context: event('`ls`: one for each context, in the order of their logins.', {
      name: context,
      server,
      user,
      tls: z.boolean().check(z.describe('whether commands connect with TLS')),
      current: z.boolean().check(z.describe('whether commands use this context')),
    }),
    'context-used': event('`use`: commands use this context from now on.', { name: context }),
    'context-removed': event('`rm`: the context and its token are removed.', { name: context }),
  },
  serve: {
    ready: event('The daemon accepts connections.', {
      host: string('the address on which the daemon listens'),
      port: whole('the port on which the daemon listens; with `--port 0`, the assigned one'),
      data: string('the data directory, as specified'),
      fingerprint,
    }),
  },
  status: { status: statusEvent },
  uploads: {
    upload: upload.check(z.describe('An unfinished upload. The upload that has been idle longest is printed first.')),
    removed: event('An unfinished upload has been removed.', { user, name: uploadName }),
  },
  user: {
    added: event('`add`: the user can log in with this token.', { user, token }),
    rotated: event('`rotate`: the user can log in with this token, no longer with the previous one.', { user, token }),
    removed: event('`remove`: the user can no longer log in.', { user }),
    user: event('`list`: one for each user, sorted by name.', {
      user,
      since: z.iso.datetime().check(z.describe('when the user was added or received the current token')),
    }),
  },
  cluster: clusterEvents,
} as const

type CommandEvents = typeof commandEvents

type EventOf<T extends Readonly<Record<string, z.ZodMiniType>>> = {
  [K in keyof T]: { readonly event: K } & Readonly<z.infer<T[K]>>
}[keyof T]

/** An event of any command. */
export type PrintedEvent = { [C in keyof CommandEvents]: EventOf<CommandEvents[C]> }[keyof CommandEvents]
