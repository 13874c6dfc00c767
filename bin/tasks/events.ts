import { z } from 'zod'
import { code, type EventOf, retry, text } from '../common/linkEvents.ts'

const bytes = z.int().min(0)

const failed = z
  .strictObject({ file: z.string().describe('the path as it was given'), code, text, retry })
  .describe('This file did not become a task.')

const skipped = z
  .strictObject({ file: z.string().describe('the path as it was given'), text })
  .describe('Something in a folder is nothing to send.')

/** What `osp tasks --json` prints, and the commands that steer tasks, without `v`; docs/json.md is checked against it. */
export const taskEvents = {
  task: z
    .strictObject({
      task: z.int().describe('its number'),
      file: z.string().describe('the path of the file; `-` where it was read from stdin'),
      name: z.string().describe('the name that it is sent under'),
      state: z
        .enum(['waiting', 'sending', 'paused', 'cancelling', 'cancelled', 'failed', 'done'])
        .describe('`cancelled` is printed by `osp cancel` alone; the task is gone then'),
      acknowledged: bytes.describe('leading bytes that the server has acknowledged'),
      durable: bytes.describe('leading bytes that would survive a crash of the server'),
      size: bytes.describe('bytes of the file; 0 until it was opened'),
      why: z.string().nullable().describe('why it does not go on, in a sentence; null if it does, or is done'),
      code: z.string().nullable().describe('the code of that'),
      retryMs: z.number().nullable().describe('milliseconds until it is tried again, where that is known'),
    })
    .describe('A task as it stands.'),
} as const

/** What `osp add --json` prints besides. */
export const addEvents = { ...taskEvents, skipped, failed } as const

export type AddEvent = EventOf<typeof addEvents>
export type TaskEvent = EventOf<typeof taskEvents>
