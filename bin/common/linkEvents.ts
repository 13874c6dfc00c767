import type { OspError } from 'ospd'
import { z } from 'zod'
import type { LinkReporter } from './link.ts'
import { errorLine, sayer } from './output.ts'
import { stylesFor } from './style.ts'

const server = z.string().describe('`HOST:PORT`')

/** Fields of an event that tells of an error. */
export const code = z.string().describe("the error's code, which is stable")
export const text = z.string().describe('a sentence for people')
export const retry = z.enum(['never', 'later', 'automatic']).describe('whether the same command can help later')

/** What every command of `osp` prints of its link with `--json`, without `v`. */
export const linkEvents = {
  waiting: z
    .strictObject({ server, code, text, retryMs: z.number().describe('milliseconds until the next try') })
    .describe('There is no link to the server; it is tried again.'),
  online: z.strictObject({ server }).describe('The server has let this client in.'),
} as const

/** What a command prints that has failed as a whole. */
export const failedEvent = {
  failed: z.strictObject({ code, text, retry }).describe('The command ends, for this reason.'),
} as const

/** One of the events that a table describes. */
export type EventOf<T extends Readonly<Record<string, z.ZodType>>> = {
  [K in keyof T]: { readonly event: K } & Readonly<z.infer<T[K]>>
}[keyof T]

/** Tells in JSON how the link fares. */
export class LinkEvents implements LinkReporter {
  readonly #emit: (event: EventOf<typeof linkEvents>) => void
  readonly #server: string

  constructor(server: string, emit: (event: EventOf<typeof linkEvents>) => void) {
    this.#server = server
    this.#emit = emit
  }

  /** Does nothing: a program that must know before `waiting` can set a timer. */
  connecting(): void {}

  waiting({ code, message: text }: OspError, retryMs: number): void {
    this.#emit({ event: 'waiting', server: this.#server, code, text, retryMs: Math.round(retryMs) })
  }

  online(): void {
    this.#emit({ event: 'online', server: this.#server })
  }

  /** What fails by it is told with the reason; the advice is for people. */
  gaveUp(_why: OspError, advice?: string): void {
    if (advice !== undefined) sayer(errorLine, stylesFor(process.stderr))(advice, 'yellow')
  }
}
