import { z } from 'zod'
import { type EventOf, failedEvent, linkEvents } from '../common/linkEvents.ts'

/** What `osp listen --json` prints, without `v`; docs/json.md is checked against it. */
export const listenEvents = {
  message: z
    .strictObject({
      seq: z.int().describe('its place in the mailbox: later messages have higher ones'),
      id: z.string().describe('32 hexadecimal digits; together with the sender they name the message'),
      from: z.string().describe('the user who has sent it'),
      sentAt: z.string().describe('when the server took it in: ISO 8601, UTC'),
      attempt: z.int().describe('how often the server has sent it; above 1 it was perhaps printed before'),
      text: z.string().nullable().describe('the content, if it is UTF-8; null otherwise'),
      content: z.string().nullable().describe('the content in base64, if it is not UTF-8; null otherwise'),
    })
    .describe('A message has come. It is acknowledged when this line was written.'),
  ...linkEvents,
  ...failedEvent,
} as const

export type ListenEvent = EventOf<typeof listenEvents>
