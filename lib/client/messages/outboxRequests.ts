import * as z from 'zod/mini'
import { OspError } from '../../errors.ts'
import { KiB } from '../../limits.ts'
import { errorCode, userName } from '../../nameSchemas.ts'
import type { Control } from '../../ports/control.ts'
import { deliveryStatus } from '../../wire/protocol.ts'
import type { RecipientState } from './message.ts'

/** The bounds of one request, and of one answer, below the limits of a control socket. */
export const outboxRequestBounds = { bytes: 192 * KiB, items: 2_000 } as const

const number = z.int().check(z.minimum(1))
const listOf = <T extends z.ZodMiniType>(item: T) =>
  z.array(item).check(z.refine(({ length }) => length <= outboxRequestBounds.items, 'too many at once'))
const hexDigits = z.string().check(z.regex(/^(?:[0-9a-f]{2})*$/u))
const messageId = z.string().check(z.regex(/^[0-9a-f]{32}$/u))
const recipients = z.array(userName).check(z.refine(({ length }) => length > 0, 'no recipient'))

const request = z.discriminatedUnion('do', [
  /** The messages with numbers above `after`. */
  z.strictObject({ do: z.literal('list'), after: z.int().check(z.minimum(0)) }),
  /** `waiter`: the number of the subscriber to their outcomes. */
  z.strictObject({
    do: z.literal('add'),
    messages: listOf(z.strictObject({ id: messageId, recipients, body: hexDigits })),
    waiter: z.int(),
  }),
  z.strictObject({ do: z.literal('remove'), numbers: listOf(number) }),
  /** Answered with the number of the subscriber, then with the outcomes of its messages, until the caller disconnects. */
  z.strictObject({ do: z.literal('await') }),
])

/** A request to the program that uses the outbox. */
export type OutboxRequest = z.infer<typeof request>

const failure = z.strictObject({ code: errorCode, text: z.string(), recipients: z.optional(z.array(z.string())) })

const states = z.array(
  z.strictObject({
    recipient: z.string(),
    status: z.enum(Object.keys(deliveryStatus) as RecipientState['status'][]),
  }),
)

export const outboxAnswers = {
  list: z.strictObject({
    messages: z.array(
      z.strictObject({
        number,
        id: messageId,
        recipients,
        bytes: z.int(),
        queuedAt: z.number(),
        refusal: z.optional(failure),
      }),
    ),
    more: z.boolean(),
  }),
  add: z.strictObject({ added: z.array(z.union([z.strictObject({ number }), failure])) }),
  remove: z.strictObject({ removed: z.array(number) }),
  /** The states of a stored message; or why it is not stored, and whether it stays in the outbox. */
  await: z.union([
    z.strictObject({ waiter: z.int() }),
    z.strictObject({ number, states }),
    z.strictObject({ number, error: failure, isKept: z.boolean() }),
  ]),
} as const

export type MessageOutcome = Exclude<z.infer<typeof outboxAnswers.await>, { waiter: number }>

/** Throws OspError `malformed`. */
export function readOutboxRequest(value: unknown): OutboxRequest {
  const result = request.safeParse(value)
  if (result.success) return result.data
  throw new OspError('malformed', `invalid request: ${result.error.issues[0]?.message}`)
}

/** Throws OspError `malformed`. */
export function readOutboxAnswer<T>(schema: z.ZodMiniType<T>, value: unknown): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new OspError('malformed', 'the program that uses the outbox runs another version of ospd')
}

export async function askOutbox<T>(control: Control, request: OutboxRequest, answer: z.ZodMiniType<T>): Promise<T> {
  return readOutboxAnswer(answer, await control.ask(request))
}

/** Returns an error as JSON. */
export function messageFailureOf({ code, message: text, recipients = [] }: OspError): z.infer<typeof failure> {
  return { code, text, ...(recipients.length > 0 && { recipients: [...recipients] }) }
}

/** Returns an error from its JSON. */
export const readMessageFailure = ({ code, text, recipients }: z.infer<typeof failure>) =>
  new OspError(code, text, { recipients })
