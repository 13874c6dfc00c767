// The parts of events about messages.
import * as z from 'zod/mini'
import { eventFields } from '../common/eventFields.ts'

const { string, whole, bytes } = eventFields

export const recipient = string('a recipient, as specified')
export const messageId = string('the id of the message, 32 hexadecimal digits')

export const messageIds = z
  .array(z.string())
  .check(
    z.describe(
      'the ids of the messages about the file: to the users of `--to` and, with `--wait handled`, to those that the server ' +
        'notifies; empty if there are none',
    ),
  )

/** The outcome of a message for a recipient. */
export const outcome = {
  recipient,
  state: z
    .enum(['handled', 'rejected', 'expired'])
    .check(
      z.describe(
        '`handled`: the recipient handled the message; `rejected`: the recipient rejected it, or removed it without ' +
          'handling it; `expired`: the message was not handled in time',
      ),
    ),
  at: string('when the server stored the receipt: ISO 8601, UTC'),
  result: string('the result that the recipient returned, or the reason for the rejection; up to 4 KiB'),
} as const

/** A receipt as `osp msg` prints it. */
export const receipt = { id: messageId, ...outcome } as const

/** A receipt as `osp listen` prints it. */
export const listedReceipt = {
  ...receipt,
  file: z
    .nullable(z.string())
    .check(
      z.describe(
        'the name of the file that the message is about, if it was sent with the same state directory within the last day; ' +
          'otherwise null',
      ),
    ),
} as const

/** A message in the outbox. */
export const queuedMessage = {
  message: whole('the number of the message in the outbox'),
  id: messageId,
  recipients: z.array(z.string()).check(z.describe('its recipients')),
  bytes: bytes.check(z.describe('size of its headers and content')),
  queuedAt: z.iso.datetime().check(z.describe('when it was added to the outbox')),
} as const

/** A message of the outbox that the server has refused. */
export const refusedMessage = {
  id: messageId,
  recipients: z.array(z.string()).check(z.describe('its recipients')),
  affected: z
    .array(z.string())
    .check(z.describe('the recipients to which the error applies; empty if it applies to all')),
} as const

/** A message whose program failed. `programEnd` is the exit status of the program. */
export const handling = {
  seq: whole('the position in the mailbox'),
  id: string('32 hexadecimal digits; together with the sender they identify the message'),
  from: string('the sender'),
  attempt: whole('the number of deliveries and earlier failures'),
} as const
export const programEnd = {
  exitCode: z.nullable(z.int()).check(z.describe('the exit code of the program; null if a signal ended it')),
  signal: z.nullable(z.string()).check(z.describe('the signal that ended the program; otherwise null')),
  result: string('the first 4 KiB of its stdout, without trailing newlines'),
} as const
