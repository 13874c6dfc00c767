import { OspError } from '../../errors.ts'
import { wait } from '../../runtime/wait.ts'
import { cancelOutcomes } from '../../wire/protocol.ts'
import { Backoff } from '../connection/backoff.ts'
import type { ClientUpload } from './clientUpload.ts'
import { statusOf, type TaskStatus, type Trouble } from './taskStatus.ts'
import { UploadJob, type UploadJobOptions } from './uploadJob.ts'

/** One upload in the list of a client, and what is being done about it: sending it, or cancelling it. */
export class Task {
  readonly upload: ClientUpload
  readonly #options: UploadJobOptions
  readonly #run: UploadJob
  /** Set while it is one of those that are being sent. */
  #active: AbortController | undefined
  #running: Promise<void> = Promise.resolve()
  readonly #closing = new AbortController()
  #cancelling: Promise<void> | undefined
  /** The list of tasks holds it: it may begin. */
  accepted = false

  constructor(options: UploadJobOptions) {
    this.upload = options.upload
    this.#options = options
    this.#run = new UploadJob(options)
  }

  get id(): number {
    return this.upload.id
  }

  /** How its source is found again. */
  get ref(): string | undefined {
    return this.#options.source.ref
  }

  status(link: Trouble | undefined, now: number): TaskStatus {
    const { upload, ref, active } = this
    return statusOf({ upload, ref, active, retryAtMs: this.#run.retryAtMs }, link, now)
  }

  get active(): boolean {
    return this.#active !== undefined
  }

  /** Sends it; resolves when that has ended, for now or for good. */
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

  /** Resolves when the server has said that it is cancelled; whoever asks meanwhile is answered with that. */
  cancel(): Promise<void> {
    this.#cancelling ??= this.#cancel()
    return this.#cancelling
  }

  /** Resolves when nothing is done about it any more; it has failed then, if it was not over. */
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
      this.upload.stored(await this.#run.run(signal))
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
      const why = signal.aborted ? closedEarly() : OspError.from(error)
      this.upload.move(signal.aborted ? 'close' : 'fail', why)
      throw why
    }
  }

  /** Asks until the server has answered, on this link or the next one. What can pass is waited for. */
  async #askToCancel(signal: AbortSignal): Promise<void> {
    const { session, platform, retryForMs } = this.#options
    const patience = new Backoff(platform, retryForMs)
    session.start()
    while (this.upload.phase === 'cancelling') {
      const { peer, loss } = await session.online(signal)
      const answer = await peer.ask({ event: 'CancelFileReq', fileName: this.upload.name }).reply.catch(OspError.from)
      if (!(answer instanceof OspError)) this.upload.move('cancelled', cancelledWith(answer.outcome))
      else if (peer.ended) await loss.why
      else if (answer.retry === 'never') throw answer
      else await wait(platform.clock, patience.next(answer), signal)
    }
  }
}

function cancelledWith(outcome: number): OspError {
  if (outcome !== cancelOutcomes.published) return new OspError('cancelled')
  return new OspError('cancelled', 'the upload was cancelled; a file of this name was stored before, and stays')
}

const closedEarly = () => new OspError('closed', 'the client was closed before this upload was done')
