import { checkMetadata, textsOf } from '../../core/metadata.ts'
import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { checkFileName } from '../../names.ts'
import type { Metadata } from '../../ports/catalogue.ts'
import type { NewTransfer } from '../../ports/storage.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import type { ServerContext } from '../app.ts'

/** The maximum length of the reason of a refusal. */
const reasonCharacters = 500

/** An upload that a client asks the server to accept. */
export interface ArrivingUpload {
  /** The user who sends the file. */
  readonly user: string
  /** The name under which the client sends the file. */
  readonly name: string
  /** Bytes. */
  readonly size: number
  /** The modification time of the source, in ms since 1970. */
  readonly modifiedAt: number
  readonly metadata: Metadata
  /** Aborts when the server no longer waits for the decision. */
  readonly signal: AbortSignal
}

/** Refuses an upload. The client receives the reason with the error `upload-rejected`, and does not retry. */
export interface UploadRefusal {
  readonly refuse: string
}

/** Accepts an upload with changes. */
export interface UploadChanges {
  /** The name under which the file is stored. */
  readonly name?: string | undefined
  /** Metadata that is added to the metadata of the client; replaces values with the same keys. */
  readonly metadata?: Metadata | undefined
}

export type UploadDecision = UploadRefusal | UploadChanges | undefined

/**
 * Decides about an upload before the server accepts it. The server calls it once for each unfinished upload, and keeps the decision
 * in the record of the upload. The server calls it each time for a file that is sent in one request, or is sent again.
 */
// biome-ignore lint/suspicious/noConfusingVoidType: a function without a return statement accepts the upload
export type UploadHook = (upload: ArrivingUpload) => UploadDecision | void | Promise<UploadDecision | void>

/** Calls `onUpload`. Limits the number of calls at once, and the duration of each call. */
export class UploadHooks {
  readonly #context: ServerContext
  readonly #hook: UploadHook
  /** The calls that run or have been admitted. */
  #admitted = 0
  readonly #running = new Set<AbortController>()
  readonly #waiting: Deferred<void>[] = []
  #isClosed = false

  constructor(context: ServerContext, hook: UploadHook) {
    this.#context = context
    this.#hook = hook
  }

  /**
   * Resolves with the upload and the name and metadata with which it is stored. Rejects with OspError `upload-rejected`; with
   * `bad-name` or `too-large` if the name or the metadata is not allowed; or with `internal` if the call fails or takes too long.
   */
  async decided(want: NewTransfer): Promise<NewTransfer> {
    const decision = await this.#called(want)
    const refusal = decision && 'refuse' in decision ? decision.refuse : undefined
    if (refusal !== undefined) {
      const reason = refusal.slice(0, reasonCharacters).toWellFormed()
      throw new OspError('upload-rejected', `the server refuses this file: ${reason}`)
    }
    const { name = want.name, metadata: added } = (decision ?? {}) as UploadChanges
    if (added && !this.#context.storage.catalogue) throw failed('it added metadata, which this storage cannot keep')
    const metadata = added ? { ...want.metadata, ...added } : want.metadata
    try {
      checkFileName(name)
      if (added) checkMetadata(textsOf(metadata ?? {}))
    } catch (error) {
      const { code, message } = OspError.from(error)
      // The public text names neither the name nor the metadata that the program has chosen.
      const publicText =
        'the server chose an invalid name or invalid metadata for this file; report this to its operator'
      throw new OspError(code, `onUpload returned an invalid result: ${message}`, { publicText })
    }
    return { ...want, storeAs: name, ...(metadata && { metadata }) }
  }

  close(): void {
    this.#isClosed = true
    for (const call of this.#running) call.abort(new OspError('shutting-down'))
    for (const turn of this.#waiting.splice(0)) turn.reject(new OspError('shutting-down'))
  }

  async #called({ user, name, size, modifiedAt, metadata = {} }: NewTransfer): Promise<UploadDecision> {
    if (this.#admitted < fixed.uploadHooks) this.#admitted++
    else {
      const turn = deferred<void>()
      this.#waiting.push(turn)
      await turn.promise
    }
    if (this.#isClosed) throw new OspError('shutting-down')
    const { clock } = this.#context.platform
    const { onUploadMs } = this.#context.limits
    const call = new AbortController()
    const { signal } = call
    this.#running.add(call)
    const alarm = clock.alarm(clock.now() + onUploadMs, () => call.abort(failed(`it took more than ${onUploadMs} ms`)))
    try {
      return await new Promise<UploadDecision>((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true })
        // Called in a promise, so that a function that throws is treated like one that rejects.
        Promise.resolve({ user, name, size, modifiedAt, metadata, signal })
          .then(this.#hook)
          .then((decision) => resolve(checked(decision)))
          .catch((error) => reject(failed(error instanceof Error ? error.message : String(error), error)))
      })
    } finally {
      alarm[Symbol.dispose]()
      this.#running.delete(call)
      const next = this.#waiting.shift()
      if (next) next.resolve()
      else this.#admitted--
    }
  }
}

const failed = (reason: string, cause?: unknown) => new OspError('internal', `onUpload failed: ${reason}`, { cause })

const isText = (value: unknown) => value === undefined || typeof value === 'string'

/** Returns a decision. Throws TypeError if it has a wrong type. */
function checked(decision: unknown): UploadDecision {
  if (decision === undefined) return undefined
  if (typeof decision !== 'object' || decision === null)
    throw new TypeError('the result must be undefined or an object')
  const { refuse, name, metadata = {} } = decision as Partial<UploadRefusal & UploadChanges>
  const hasTexts = isText(refuse) && isText(name) && typeof metadata === 'object' && metadata !== null
  if (!hasTexts || !Object.values(metadata).every((value) => typeof value === 'string'))
    throw new TypeError('refuse, name and the values of metadata must be strings')
  return decision
}
