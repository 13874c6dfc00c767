import { OspError } from '../../errors.ts'
import { wait, whenAborted } from '../../runtime/wait.ts'
import { cancelOutcomes } from '../../wire/protocol.ts'
import { refusalBackoff } from '../connection/refusalBackoff.ts'
import type { ConnectionFailure } from '../connection/session.ts'
import type { ClientUpload } from './clientUpload.ts'
import { liveStatus, type TaskStatus } from './taskStatus.ts'
import { UploadJob, type UploadJobOptions } from './uploadJob.ts'

/** An upload in the list of a client, and the work on it: sending or cancelling. */
export class Task {
  readonly upload: ClientUpload
  readonly #options: UploadJobOptions
  readonly #job: UploadJob
  /** Set while it is being sent. */
  #active: AbortController | undefined
  #running: Promise<void> = Promise.resolve()
  readonly #closing = new AbortController()
  #cancelling: Promise<void> | undefined
  /** Whether the list of tasks has it: it may begin. */
  accepted = false

  constructor(options: UploadJobOptions) {
    this.upload = options.upload
    this.#options = options
    this.#job = new UploadJob(options)
  }

  get id(): number {
    return this.upload.id
  }

  /** The reference by which its source is opened again. */
  get ref(): string | undefined {
    return this.#options.source.ref
  }

  status(link: ConnectionFailure | undefined, now: number): TaskStatus {
    const { upload, ref, active } = this
    return liveStatus({ upload, ref, active, retryAtMs: this.#job.retryAtMs }, link, now)
  }

  get active(): boolean {
    return this.#active !== undefined
  }

  /** Sends it. Resolves when the sending has ended, finally or until it continues. */
  begin(): Promise<void> {
    const active = new AbortController()
    this.#active = active
    this.#running = this.#drive(active.signal).finally(() => {
      this.#active = undefined
    })
    return this.#running
  }

  /** Resolves when its instance is free. */
  async pause(): Promise<void> {
    if (this.upload.over || this.upload.phase === 'cancelling') return
    if (this.upload.phase !== 'paused') this.upload.move('pause')
    await this.#interrupt()
  }

  /** Resolves when the server has cancelled it. Later calls return the same promise. */
  cancel(): Promise<void> {
    this.#cancelling ??= this.#cancel()
    return this.#cancelling
  }

  /** Ends all work on it. An upload that has not ended fails. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#interrupt()
    await this.#cancelling?.catch(() => {})
    if (!this.upload.over) this.upload.move('close', closedEarly())
  }

  async #interrupt(): Promise<void> {
    this.#active?.abort()
    await this.#running
  }

  async #drive(signal: AbortSignal): Promise<void> {
    try {
      this.upload.stored(await this.#job.run(signal))
    } catch (error) {
      if (!signal.aborted && !this.upload.over) this.upload.move('fail', OspError.from(error))
    }
  }

  async #cancel(): Promise<void> {
    if (this.upload.over) return
    this.upload.move('cancel')
    await this.#interrupt()
    const { signal } = this.#closing
    try {
      await this.#askToCancel(signal)
    } catch (error) {
      const failure = signal.aborted ? closedEarly() : OspError.from(error)
      this.upload.move(signal.aborted ? 'close' : 'fail', failure)
      throw failure
    }
  }

  /** Asks until the server has answered, on this link or the next one. Retries after refusals that are not final. */
  async #askToCancel(signal: AbortSignal): Promise<void> {
    const { session, platform, retryForMs } = this.#options
    const backoff = refusalBackoff(platform, retryForMs)
    session.start()
    while (this.upload.phase === 'cancelling') {
      const { peer, closed } = await session.online(signal)
      const answer = await peer.ask({ event: 'CancelFileReq', fileName: this.upload.name }).reply.catch(OspError.from)
      if (!(answer instanceof OspError)) this.upload.move('cancelled', cancelledWith(answer.outcome))
      else if (peer.ended) await whenAborted(closed)
      else if (answer.retry === 'never') throw answer
      else await wait(platform.clock, backoff.next(answer), signal)
    }
  }
}

function cancelledWith(outcome: number): OspError {
  if (outcome !== cancelOutcomes.published) return new OspError('cancelled')
  return new OspError('cancelled', 'the upload was cancelled; a file of this name was stored before, and stays')
}

const closedEarly = () => new OspError('closed', 'the client was closed before this upload was done')
