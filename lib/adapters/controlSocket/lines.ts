import { z } from 'zod'
import { type ErrorCode, errors, OspError } from '../../errors.ts'
import { KiB, MiB } from '../../limits.ts'
import { jsonOf } from '../../runtime/json.ts'

/** The limits of both ends of a control socket. */
export const controlBounds = {
  /** The maximum length of a request. */
  requestBytes: 64 * KiB,
  /** The maximum length of an answer, and of all answers that wait for one client. */
  unsentBytes: 8 * MiB,
  /** The maximum number of clients that are served at once. */
  connections: 32,
  /** The maximum number of further clients that receive an error. Other clients are disconnected immediately. */
  refused: 32,
  /** How long either side waits for the other to send a request, to read an answer, or to close. */
  silenceMs: 10_000,
} as const

/** A line from the server. It confirms a request, sends any number of answers, and ends with `done` or `error`. */
const replySchema = z.union([
  z.strictObject({ taken: z.literal(true) }),
  z.strictObject({ answer: z.unknown() }),
  z.strictObject({ error: z.object({ code: z.string(), text: z.string() }) }),
  z.strictObject({ done: z.literal(true) }),
])

export type Reply = z.infer<typeof replySchema>

/** Splits bytes into lines of up to `mostBytes`. */
export class LineSplitter {
  readonly #mostBytes: number
  #parts: Uint8Array[] = []
  #bytes = 0

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes
  }

  /** Adds bytes and yields the complete lines. Throws OspError `too-large` for a line that is too long. */
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

/** Parses a request. Throws OspError `malformed` if the line is not a JSON object. */
export function requestOf(line: string): object {
  const value = jsonOf(line)
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  throw new OspError('malformed', 'a request is one JSON object on a line')
}

/** Parses a reply. Throws OspError `malformed` if the line is not a reply. */
export function replyOf(line: string): Reply {
  const result = replySchema.safeParse(jsonOf(line))
  if (result.success) return result.data
  throw new OspError('malformed', 'the answer is not valid; it comes from another version of ospd')
}

/** Convert an error to a reply and back. An unknown code, from another version, becomes `internal`. */
export const errorReply = ({ code, message: text }: OspError): Reply => ({ error: { code, text } })
export const readError = ({ code, text }: { readonly code: string; readonly text: string }): OspError =>
  new OspError(Object.hasOwn(errors, code) ? (code as ErrorCode) : 'internal', text)

export const formatLine = (value: unknown): string => `${JSON.stringify(value)}\n`
