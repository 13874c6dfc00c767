import { type Client, OspError } from 'ospd'
import { file as fileSource } from 'ospd/node'
import type { Reporter, Task } from './reporter.ts'
import type { SendValues } from './settings.ts'
import type { Tally } from './tally.ts'
import type { Candidate, Found } from './walk.ts'

export interface SendingOptions {
  readonly client: Client
  readonly reporter: Reporter
  readonly tally: Tally
  readonly digest: SendValues['digest']
  /** Ends the adding of more files: the command was interrupted. */
  readonly stop: AbortSignal
  /** Why the server is not asked for anything any more, once that is so: every file that is left fails with it. */
  readonly refusal: () => OspError | undefined
}

/** Unfinished uploads at once, waiting ones included: what is to be sent can be more than fits in memory. */
const unfinishedMost = 100

/** Feeds the client with files as they are found, and follows what becomes of them. */
export class Sending {
  readonly #options: SendingOptions
  readonly #unfinished = new Map<Task, Promise<void>>()

  #wake: () => void = () => {}

  constructor(options: SendingOptions) {
    this.#options = options
    options.stop.addEventListener('abort', () => this.#wake(), { once: true })
  }

  /** Those that are under way or wait for their turn. */
  get unfinished(): readonly Task[] {
    return [...this.#unfinished.keys()]
  }

  /** Sends what is found; resolves when all of it is stored or has failed, or when it was stopped. */
  async send(candidates: AsyncIterable<Found>): Promise<void> {
    const { stop, reporter } = this.#options
    try {
      for await (const found of candidates) {
        if (stop.aborted) break
        await this.#take(found)
        await this.#atMost(unfinishedMost - 1)
      }
    } catch (error) {
      // A list that was closed early says so.
      if (!stop.aborted) throw error
    }
    reporter.complete()
    await this.#atMost(0)
  }

  /** Resolves when every upload has ended: after the client was closed, or could not go online any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#unfinished.values())
  }

  /** Resolves when no more than so many are unfinished, or when it was stopped. */
  async #atMost(count: number): Promise<void> {
    while (this.#unfinished.size > count && !this.#options.stop.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  async #take(found: Found): Promise<void> {
    const { reporter } = this.#options
    if ('skipped' in found) return reporter.skipped(found.path, found.skipped)
    if ('failure' in found) return this.#failed(found.path, found.failure)
    const refusal = this.#options.refusal()
    if (refusal) return this.#failed(found.path, refusal)
    try {
      await this.#add(found)
    } catch (error) {
      this.#failed(found.path, OspError.from(error))
    }
  }

  #failed(path: string, why: OspError): void {
    this.#options.tally.isFailed(why)
    this.#options.reporter.failed({ path }, why)
  }

  async #add({ path, name, size }: Candidate): Promise<void> {
    const { client, digest, reporter } = this.#options
    const upload = await client.uploads.add(fileSource(path, { name }), { digest })
    const task = { path, size, upload }
    reporter.added(task)
    this.#watchRefusals(task)
    this.#unfinished.set(task, this.#follow(task))
  }

  async #follow(task: Task): Promise<void> {
    const { tally, reporter, stop } = this.#options
    const { upload } = task
    try {
      const file = await upload.finished
      tally.isStored(file, upload.contentBytes)
      reporter.stored(task, file)
    } catch (error) {
      const why = OspError.from(error)
      // Left to the command, which lists what it leaves unfinished.
      if (why.code === 'closed' && stop.aborted) return tally.isUnfinished(upload.contentBytes)
      tally.isFailed(why, upload.contentBytes)
      reporter.failed(task, why)
    }
    this.#unfinished.delete(task)
    this.#wake()
  }

  /** Says once for each reason that the server does not take the file for now. */
  #watchRefusals(task: Task): void {
    const said = new Set<string>()
    task.upload.on('phase', (phase) => {
      const { why } = task.upload
      if (phase !== 'waiting' || !why || !isRefusal(why) || said.has(why.code)) return
      said.add(why.code)
      this.#options.reporter.refused(task, why)
    })
  }
}

/** Broken links are told for all files at once, and what the client repairs by itself is not worth a word. */
function isRefusal({ code, again }: OspError): boolean {
  const broken = ['link-lost', 'unreachable', 'timed-out', 'closed', 'superseded', 'shutting-down']
  return again === 'later' && !broken.includes(code)
}
