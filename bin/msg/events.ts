import { z } from 'zod'
import { code, type EventOf, linkEvents, retry, text } from '../common/linkEvents.ts'

/** What `osp msg --json` prints, without `v`; docs/json.md is checked against it. */
export const msgEvents = {
  sent: z
    .strictObject({
      recipient: z.string().describe('a recipient, as it was given'),
      status: z
        .enum(['online', 'stored', 'unseen'])
        .describe(
          'whether a program of the recipient listens, or the message waits for one; `unseen` if it waits although no user of ' +
            'this name has come in yet',
        ),
    })
    .describe('The server has stored the message for this recipient. There is one for each, or none at all.'),
  failed: z
    .strictObject({
      code,
      text,
      retry,
      recipients: z.array(z.string()).describe('the recipients whom a refusal concerns; empty if it concerns all'),
      outcome: z
        .enum(['not-sent', 'unknown'])
        .describe('whether nobody has the message, or the server has perhaps stored it for all'),
    })
    .describe('The message was not sent, or nobody knows.'),
  ...linkEvents,
} as const

export type MsgEvent = EventOf<typeof msgEvents>
