import { z } from 'zod'

const task = z.int().describe('the number of the upload in this command')
const file = z.string().describe('the path as it was given')
const name = z.string().describe('the name that it was sent under')
const code = z.string().describe("the error's code, which is stable")
const text = z.string().describe('a sentence for people')
const server = z.string().describe('`HOST:PORT`')
const sent = z.int().describe('bytes of content that this process sent for the file, repeated ones included')

/** What `osp send --json` prints, without `v`; docs/json.md is checked against it. */
export const sendEvents = {
  stored: z
    .strictObject({
      task,
      file,
      name,
      storedName: z.string().describe('the name that it lies under on the server'),
      size: z.int().describe('bytes'),
      algorithm: z.enum(['sha256', 'md5', 'xxh128']).describe('of the digest'),
      digest: z.string().describe('of the whole file, in hexadecimal'),
      sent,
    })
    .describe('The server has verified the file, and keeps it under its name.'),
  failed: z
    .strictObject({
      task: task.nullable().describe('the number of the upload; null if it never became one'),
      file,
      name: name.nullable().describe('the name that it was sent under; null if it never had one'),
      code,
      text,
      again: z.enum(['no', 'later', 'recover']).describe('whether the same command can help later'),
      sent,
    })
    .describe('This file was not sent; the others go on.'),
  skipped: z.strictObject({ file, text }).describe('Something in a folder is nothing to send.'),
  refused: z
    .strictObject({ task, file, name, code, text })
    .describe('The server does not take the file for now; it is tried again.'),
  waiting: z
    .strictObject({ server, code, text, retryMs: z.number().describe('milliseconds until the next try') })
    .describe('There is no link to the server; it is tried again.'),
  online: z.strictObject({ server }).describe('The server has let this client in.'),
  summary: z
    .strictObject({
      stored: z.int().describe('files that were stored'),
      failed: z.int().describe('files that failed'),
      unfinished: z.int().describe('files that were under way or waiting when the command was interrupted'),
      size: z.int().describe('bytes of the stored files'),
      sent: z.int().describe('bytes of content that this process sent'),
      seconds: z.number().describe('how long it took'),
      exitCode: z.int().describe('the exit code that follows'),
    })
    .describe('The last event.'),
} as const

type Events = typeof sendEvents

/** One of these events. */
export type SendEvent = { [K in keyof Events]: { readonly event: K } & Readonly<z.infer<Events[K]>> }[keyof Events]
