import { z } from 'zod'
import type { EventOf } from '../common/linkEvents.ts'

const user = z.string().describe('the name')
const token = z.string().describe('the token, which is told nowhere else')

/** What `ospd user --json` prints, without `v`; docs/json.md is checked against it. */
export const userEvents = {
  added: z.strictObject({ user, token }).describe('`add`: the user can come in by this token.'),
  rotated: z
    .strictObject({ user, token })
    .describe('`rotate`: the user can come in by this token; the former one is void.'),
  removed: z.strictObject({ user }).describe('`remove`: the user can come in no more.'),
  user: z
    .strictObject({
      user,
      since: z.iso.datetime().describe('when the user was added, or given the token of now'),
    })
    .describe('`list`: one for each user, by name.'),
} as const

export type UserEvent = EventOf<typeof userEvents>
