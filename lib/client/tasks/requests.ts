import { z } from 'zod'
import { type ErrorCode, errors, OspError } from '../../errors.ts'

/** What one request may hold, so that it and its answer stay well below what a control socket takes. */
export const requestBounds = {
  /** Files in one request to add some, and bytes of their names and paths. */
  added: 100,
  addedBytes: 16 * 1024,
  /** Numbers of tasks. */
  ids: 2_000,
  /** Tasks in one answer, and bytes of its JSON. */
  listed: 2_000,
  listedBytes: 2 * 1024 * 1024,
} as const

const id = z.int().min(1)
/** Not by `max`: that of zod asks for the length of what is no list too, and throws where it has a strange one. */
const listOf = <T extends z.ZodType>(item: T, most: number) =>
  z.array(item).refine(({ length }) => length <= most, `at most ${most} at once`)
const ids = listOf(id, requestBounds.ids)
/** Of Unix or Windows. */
const absolute = z.string().regex(/^(?:\/|[A-Za-z]:[\\/]|\\\\)/u, 'it has to be an absolute path')

const newTask = z.strictObject({
  ref: absolute,
  name: z.string(),
  digest: z.enum(['md5', 'sha256', 'xxh128']).optional(),
})

/** What a program that serves a list of tasks can be asked. */
const request = z.discriminatedUnion('do', [
  /** Those whose number is above `after`. */
  z.strictObject({ do: z.literal('list'), after: z.int().min(0) }),
  /** For the program that awaits their ends under this number, if one does. */
  z.strictObject({
    do: z.literal('add'),
    tasks: listOf(newTask, requestBounds.added),
    waiter: z.int().optional(),
  }),
  z.strictObject({ do: z.literal('pause'), ids: ids.optional() }),
  z.strictObject({ do: z.literal('continue'), ids: ids.optional() }),
  /** Answered after this time at the latest. */
  z.strictObject({ do: z.literal('cancel'), ids, waitMs: z.int().min(0).max(60_000) }),
  /** Answered with the number of whoever waits, then with each upload that ends, as long as it is listened to. */
  z.strictObject({ do: z.literal('await') }),
])

export type TaskRequest = z.infer<typeof request>

const failure = z.strictObject({
  code: z.custom<ErrorCode>((code) => typeof code === 'string' && Object.hasOwn(errors, code)),
  text: z.string(),
})

const bytes = z.int().min(0)
const state = z.enum([
  'waiting',
  'sending',
  'verifying',
  'paused',
  'cancelling',
  'cancelled',
  'failed',
  'done',
] as const)

const status = z.strictObject({
  id,
  ref: z.string().optional(),
  name: z.string(),
  state,
  acknowledged: bytes,
  durable: bytes,
  size: bytes,
  why: z.strictObject({ code: z.string(), text: z.string(), retryMs: z.number().optional() }).optional(),
})

const file = z.strictObject({
  name: z.string(),
  storedName: z.string(),
  replaced: z.boolean(),
  size: bytes,
  algorithm: z.enum(['md5', 'sha256', 'xxh128']),
  digest: z.string(),
})

export const answers = {
  list: z.strictObject({ tasks: z.array(status), more: z.boolean() }),
  add: z.strictObject({ added: z.array(z.union([z.strictObject({ id }), failure])) }),
  cancel: z.strictObject({ tasks: z.array(status) }),
  /** An upload that has ended, stored or not, with the bytes transferred for it. */
  await: z.union([
    z.strictObject({ waiter: z.int() }),
    z.strictObject({ ended: id, transferred: bytes, file }),
    z.strictObject({ ended: id, transferred: bytes, why: failure }),
  ]),
} as const

export type Ended = Exclude<z.infer<typeof answers.await>, { waiter: number }>

/** Throws OspError `malformed`. */
export function readRequest(value: unknown): TaskRequest {
  const result = request.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new OspError('malformed', `the request is not understood: ${issue?.path.join('.') ?? ''} ${issue?.message}`)
}

/** Throws OspError `malformed`. */
export function readAnswer<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new OspError('malformed', 'the program that sends is of another version of ospd')
}

/** An error as it is told. */
export const toldFailure = ({ code, message: text }: OspError) => ({ code, text })

/** … and as it is read. */
export const readFailure = ({ code, text }: z.infer<typeof failure>) => new OspError(code, text)
