import { z } from 'zod'
import { type ErrorCode, errors, OspError } from '../../errors.ts'
import { KiB, MiB } from '../../limits.ts'

/** What both ends of a control socket keep to. */
export const controlBounds = {
  /** A request's line. */
  requestBytes: 64 * KiB,
  /** An answer's line, and what may wait for one client that has not taken it yet. */
  unsentBytes: 8 * MiB,
  /** Clients at once that are served … */
  connections: 32,
  /** … and those that are told that it is one too many. Others are cut off at once. */
  refused: 32,
  /** How long either side waits for the other: for its request, to take an answer, to close. */
  silenceMs: 10_000,
} as const

/** A line from the side that is asked. It takes a request, gives any number of answers, and ends with `done` or `error`. */
const replySchema = z.union([
  z.strictObject({ taken: z.literal(true) }),
  z.strictObject({ answer: z.unknown() }),
  z.strictObject({ error: z.object({ code: z.string(), text: z.string() }) }),
  z.strictObject({ done: z.literal(true) }),
])

export type Reply = z.infer<typeof replySchema>

/** Puts bytes together to lines of at most `mostBytes`. */
export class LineSplitter {
  readonly #mostBytes: number
  #parts: Uint8Array[] = []
  #bytes = 0

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes
  }

  /** The lines that are complete now, one by one. Throws OspError `too-large` at a line that is too long. */
  *push(chunk: Uint8Array): Generator<string, void> {
    for (let from = 0; ; ) {
      const at = chunk.indexOf(10, from)
      const part = chunk.subarray(from, at < 0 ? undefined : at)
      this.#bytes += part.length
      if (this.#bytes > this.#mostBytes) {
        throw new OspError('too-large', `a line has at most ${this.#mostBytes} bytes`)
      }
      this.#parts.push(part)
      if (at < 0) return
      const line = Buffer.concat(this.#parts).toString('utf8')
      this.#parts = []
      this.#bytes = 0
      from = at + 1
      yield line
    }
  }
}

/** The object of a request's line. Throws OspError `malformed`. */
export function requestOf(line: string): object {
  const value = jsonOf(line)
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  throw new OspError('malformed', 'a request is one JSON object on a line')
}

/** Throws OspError `malformed` for a line that is no reply. */
export function replyOf(line: string): Reply {
  const result = replySchema.safeParse(jsonOf(line))
  if (result.success) return result.data
  throw new OspError('malformed', 'what was answered is not understood; it comes from another version of ospd')
}

/** An error as it is told, and as it is read; a code of another version reads as `internal`. */
export const errorReply = ({ code, message: text }: OspError): Reply => ({ error: { code, text } })
export const readError = ({ code, text }: { readonly code: string; readonly text: string }): OspError =>
  new OspError(Object.hasOwn(errors, code) ? (code as ErrorCode) : 'internal', text)

export const formatLine = (value: unknown): string => `${JSON.stringify(value)}\n`

/** `undefined` for what is no JSON, which no schema here takes. */
function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
