import { z } from 'zod'
import { type EventOf, failedEvent, linkEvents } from '../common/linkEvents.ts'

const server = z.string().describe('`HOST:PORT`')
const user = z.string().describe('the name')

/** What `osp login --json` prints, without `v`; docs/json.md is checked against it. */
export const loginEvents = {
  'logged-in': z
    .strictObject({ server, user })
    .describe('The server has let the user in by this token, which is kept.'),
  ...linkEvents,
  ...failedEvent,
} as const

/** What `osp logout --json` prints, without `v`. */
export const logoutEvents = {
  'logged-out': z
    .strictObject({ server, user, removed: z.boolean().describe('whether a token was kept') })
    .describe('No token is kept any more.'),
} as const

export type LoginEvent = EventOf<typeof loginEvents>
export type LogoutEvent = EventOf<typeof logoutEvents>
