import * as z from 'zod/mini'
import { OspError } from '../../errors.ts'
import { errorCode } from '../../nameSchemas.ts'
import type { DigestName } from '../../ports/platform.ts'
import { digestNumbers } from '../../wire/protocol.ts'
import { type UploadPhase, uploadPhases } from '../uploads/upload.ts'

/** The bounds of one request, so that it and its answer stay well below the limits of a control socket. */
export const requestBounds = {
  /** Files in one `add` request, and bytes of their names and paths. */
  added: 100,
  addedBytes: 16 * 1024,
  ids: 2_000,
  /** Tasks in one answer, and bytes of its JSON. */
  listed: 2_000,
  listedBytes: 2 * 1024 * 1024,
} as const

/** The recipients of the message about a file. */
const mostRecipients = 100

const id = z.int().check(z.minimum(1))
/** Does not use `maxLength`, which reads `length` of values of other types and can throw. */
const listOf = <T extends z.ZodMiniType>(item: T, most: number) =>
  z.array(item).check(z.refine(({ length }) => length <= most, `at most ${most} at once`))
const ids = listOf(id, requestBounds.ids)
/** An absolute path of Unix or Windows. */
const absolute = z.string().check(z.regex(/^(?:\/|[A-Za-z]:[\\/]|\\\\)/u, 'it must be an absolute path'))
const digestName = z.enum(Object.keys(digestNumbers) as DigestName[])

const newTask = z.strictObject({
  ref: absolute,
  name: z.string(),
  digest: z.optional(digestName),
  metadata: z.optional(z.record(z.string(), z.string())),
  to: z.optional(z.readonly(listOf(z.string(), mostRecipients))),
})

/** The requests to a program that serves a list of tasks. */
const request = z.discriminatedUnion('do', [
  /** The tasks with ids above `after`. */
  z.strictObject({ do: z.literal('list'), after: z.int().check(z.minimum(0)) }),
  /** `waiter`: the number of the subscriber that awaits their ends. */
  z.strictObject({ do: z.literal('add'), tasks: listOf(newTask, requestBounds.added), waiter: z.optional(z.int()) }),
  z.strictObject({ do: z.literal('pause'), ids: z.optional(ids) }),
  z.strictObject({ do: z.literal('continue'), ids: z.optional(ids) }),
  /** Answered after `waitMs` at the latest. */
  z.strictObject({ do: z.literal('cancel'), ids, waitMs: z.int().check(z.minimum(0), z.maximum(60_000)) }),
  /** Answered with the number of the subscriber, then with each upload that ends, until the caller leaves. */
  z.strictObject({ do: z.literal('await') }),
])

export type TaskRequest = z.infer<typeof request>

const failure = z.strictObject({ code: errorCode, text: z.string() })

const bytes = z.int().check(z.minimum(0))
const status = z.strictObject({
  id,
  ref: z.optional(z.string()),
  name: z.string(),
  state: z.enum(Object.keys(uploadPhases.table) as UploadPhase[]),
  acknowledged: bytes,
  durable: bytes,
  size: bytes,
  reason: z.optional(z.strictObject({ code: z.string(), text: z.string(), retryMs: z.optional(z.number()) })),
})

const notice = z.strictObject({
  id: z.string(),
  recipients: z.readonly(z.array(z.string())),
  receipt: z.exactOptional(z.boolean()),
})

const file = z.strictObject({
  name: z.string(),
  storedName: z.string(),
  replaced: z.boolean(),
  size: bytes,
  algorithm: digestName,
  digest: z.string(),
  notice: z.exactOptional(notice),
  unseen: z.exactOptional(z.readonly(z.array(z.string()))),
  notified: z.exactOptional(notice),
})

export const answers = {
  none: z.unknown(),
  list: z.strictObject({ tasks: z.array(status), more: z.boolean() }),
  add: z.strictObject({ added: z.array(z.union([z.strictObject({ id }), failure])) }),
  cancel: z.strictObject({ tasks: z.array(status) }),
  /** The end of an upload, stored or not, with the bytes transferred for it. */
  await: z.union([
    z.strictObject({ waiter: z.int() }),
    z.strictObject({ ended: id, transferred: bytes, file }),
    z.strictObject({ ended: id, transferred: bytes, reason: failure }),
  ]),
} as const

export type Ended = Exclude<z.infer<typeof answers.await>, { waiter: number }>

/** Throws OspError `malformed`. */
export function readRequest(value: unknown): TaskRequest {
  const result = request.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new OspError('malformed', `invalid request: ${issue?.path.join('.') ?? ''} ${issue?.message}`)
}

/** Throws OspError `malformed`. */
export function readAnswer<T>(schema: z.ZodMiniType<T>, value: unknown): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new OspError('malformed', 'the sending program belongs to another version of ospd')
}

/** Yields groups of up to `most` items and up to `mostBytes` of JSON, but of at least one item. */
export function* groupsOf<T>(items: readonly T[], most: number, mostBytes: number): Generator<T[]> {
  let group: T[] = []
  let bytes = 0
  for (const item of items) {
    const more = JSON.stringify(item).length
    if (group.length > 0 && (group.length >= most || bytes + more > mostBytes)) {
      yield group
      group = []
      bytes = 0
    }
    group.push(item)
    bytes += more
  }
  if (group.length > 0) yield group
}

/** Returns an error as JSON. */
export const failureOf = ({ code, message: text }: OspError) => ({ code, text })

/** Returns the error of its JSON. */
export const readFailure = ({ code, text }: z.infer<typeof failure>) => new OspError(code, text)
