import { z } from 'zod'
import { type EventOf, failedEvent, linkEvents } from '../common/linkEvents.ts'

const node = z.int().describe("the number of the user's registration, which the server has given")
const user = z.string().describe('the name')

/** What `osp who --json` prints, without `v`; docs/json.md is checked against it. */
export const whoEvents = {
  list: z
    .strictObject({
      members: z.array(z.strictObject({ user, node })).describe('each with its `user` and `node`, sorted by name'),
    })
    .describe('Who is online at first. It is printed once.'),
  here: z.strictObject({ user, node }).describe('With `--watch`: somebody has come.'),
  gone: z.strictObject({ user, node }).describe('With `--watch`: somebody has left.'),
  ...linkEvents,
  ...failedEvent,
} as const

export type WhoEvent = EventOf<typeof whoEvents>
