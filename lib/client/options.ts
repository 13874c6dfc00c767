import { z } from 'zod'
import { OspError } from '../errors.ts'
import type { DigestName } from '../ports/platform.ts'
import { digestNumbers } from '../wire/protocol.ts'

const digestNames = Object.keys(digestNumbers) as [DigestName, ...DigestName[]]

const number = (least: (value: number) => boolean, must: string) =>
  z.custom<number>((value) => typeof value === 'number' && least(value), must)

const withMethod = (name: string, must: string) =>
  z.custom((value) => typeof (value as Record<string, unknown> | null | undefined)?.[name] === 'function', must)

const callable = z.custom((value) => typeof value === 'function', 'it must be a function').optional()

const signal = withMethod('addEventListener', 'it must be an AbortSignal').optional()

const connecting = z.object({
  to: withMethod('dial', 'it must be a transport, such as tcp({ port })'),
  user: z.string('it must be a string'),
  token: callable,
  insecure: z.boolean('it must be true or false').optional(),
  retryForMs: number((ms) => ms >= 0, 'it must be a number of milliseconds, 0 or more, or Infinity').optional(),
  uploadsAtOnce: number(
    (count) => Number.isSafeInteger(count) && count > 0,
    'it must be a whole number, 1 or more',
  ).optional(),
  limitRate: number((rate) => rate > 0, 'it must be more than 0 bytes a second').optional(),
  log: callable,
  state: z
    .object(
      {
        receipts: withMethod('load', 'it must keep receipts'),
        tasks: withMethod('put', 'it must keep tasks').optional(),
      },
      'it must be a client state',
    )
    .optional(),
  signal,
})

const adding = z.object({
  source: withMethod('open', 'it must be a source, such as file(path)'),
  name: z.string('it must be a string'),
  digest: z.enum(digestNames, `it must be one of ${digestNames.join(', ')}`).optional(),
})

const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array)

const sending = z.object({
  to: z.array(z.string('it must be a user name')).refine(({ length }) => length > 0, 'it must name a recipient'),
  content: z.union([z.string(), bytes], 'it must be a string or a Uint8Array'),
  id: bytes.refine(({ length }) => length === 16, 'it must be 16 bytes').optional(),
  signal,
})

/** Throws OspError `usage` that names the first option of a client that can't be. */
export function checkConnectOptions(options: unknown): void {
  check(connecting, options)
}

/** Throws OspError `usage` that names the first of these that can't be. */
export function checkAddOptions(options: unknown): void {
  check(adding, options)
}

/** Throws OspError `usage` that names the first of these that can't be sent. */
export function checkSending(options: unknown): void {
  check(sending, options)
}

/** Throws OspError `usage` where a handler is none. */
export function checkHandler(handler: unknown): void {
  if (typeof handler !== 'function') throw new OspError('usage', 'the handler of messages must be a function')
}

function check(schema: z.ZodType, options: unknown): void {
  const result = schema.safeParse(options)
  if (result.success) return
  const [issue] = result.error.issues
  throw new OspError('usage', `the option ${issue?.path.join('.') || 'object'} is not valid: ${issue?.message}`)
}
