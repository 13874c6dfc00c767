import { z } from 'zod'
import { code, type EventOf, linkEvents, retry, text } from '../common/linkEvents.ts'

const task = z.int().describe('its number, as `osp tasks` has it')
const file = z.string().describe('the path as it was given; of a task that was taken up, the whole path')
const name = z.string().describe('the name that it was sent under')
const transferred = z
  .int()
  .describe('content bytes that this process sent and the server acknowledged, including repeated ones')

/** What `osp send --json` prints, without `v`; docs/json.md is checked against it. */
export const sendEvents = {
  stored: z
    .strictObject({
      task,
      file,
      name,
      storedName: z
        .string()
        .describe('the name under which the server stores it; differs from `name` if the server renamed it'),
      replaced: z.boolean().describe('whether it replaced a file that was stored under this name'),
      size: z.int().describe('bytes'),
      algorithm: z.enum(['sha256', 'md5', 'xxh128']).describe('of the digest'),
      digest: z.string().describe('of the whole file, in hexadecimal'),
      transferred,
    })
    .describe('The server has verified the file, and keeps it under its name.'),
  failed: z
    .strictObject({
      task: task.nullable().describe('the number of the upload; null if it never became one'),
      file,
      name: name.nullable().describe('the name that it was sent under; null if it never had one'),
      code,
      text,
      retry,
      transferred,
    })
    .describe('This file was not sent; the others go on. With a `task`, and `retry` not `never`, it stays a task.'),
  cancelled: z
    .strictObject({ task, file, name })
    .describe('A task that this command was not given was cancelled; it is not counted.'),
  paused: z
    .strictObject({ task, file, name })
    .describe('A task that this command would have taken up is paused, and stays so.'),
  joined: z
    .strictObject({ text })
    .describe('Another `osp send` is running: it sends the files, and this command tells what becomes of them.'),
  progress: z
    .strictObject({
      task,
      file,
      name,
      state: z
        .enum(['sending', 'verifying'])
        .describe('`verifying`: the server has acknowledged every byte and compares the digest'),
      acknowledged: z.int().describe('leading bytes that the server has acknowledged'),
      durable: z.int().describe('leading bytes that would survive a crash of the server'),
      size: z.int().describe('bytes of the file'),
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
  skipped: z.strictObject({ file, text }).describe('Something in a folder is nothing to send.'),
  refused: z
    .strictObject({ task, file, name, code, text })
    .describe('The server does not take the file for now; it is tried again.'),
  ...linkEvents,
  summary: z
    .strictObject({
      stored: z.int().describe('files that were stored'),
      failed: z.int().describe('files that failed for good, or became no task'),
      unfinished: z
        .int()
        .describe('files that stay tasks: under way or waiting when the command ended, or `failed` for now'),
      replaced: z.int().describe('stored files that replaced another file'),
      renamed: z.int().describe('stored files that the server renamed'),
      size: z.int().describe('bytes of the stored files'),
      transferred: z
        .int()
        .describe('content bytes that this process sent and the server acknowledged, of all files together'),
      seconds: z.number().describe('how long it took'),
      exitCode: z.int().describe('the exit code that follows'),
    })
    .describe('The last event.'),
} as const

export type SendEvent = EventOf<typeof sendEvents>
