// The events of `osp devices`.
import * as z from 'zod/mini'
import { eventFields } from '../common/eventFields.ts'

const { string, event, count } = eventFields

export const deviceEvents = {
  device: event('`ls`: one for each device, sorted by name.', {
    name: string('the name of the device; empty for the programs that listen without `--device`'),
    listening: z.boolean().check(z.describe('whether a program listens for the device now')),
    seenAt: string('when it last listened, up to about two hours earlier if it does not listen now: ISO 8601, UTC'),
    waiting: count.check(z.describe('messages that it has not handled')),
  }),
  removed: event('`rm`: the device was removed.', { name: string('the name of the device') }),
} as const
