import { OspError } from '../../errors.ts'
import type { Control } from '../../ports/control.ts'
import type { FileSource } from '../../ports/source.ts'
import { deferred } from '../../runtime/deferred.ts'
import { ClientUpload } from '../uploads/clientUpload.ts'
import type { Upload } from '../uploads/upload.ts'
import type { AddOptions } from '../uploads/uploads.ts'
import { isAbsent, RemoteTasks } from './remoteTasks.ts'
import { answers, type Ended, readAnswer, readFailure, requestBounds } from './requests.ts'
import type { NewTask } from './taskControl.ts'

/** The tasks of another program that sends, to which this program adds its files. */
export interface JoinedTasks extends AsyncDisposable {
  readonly joined: true
  /**
   * Adds a file to the uploads of the other program. The upload that it resolves with reports only its end. It fails with
   * `closed` if the other program ends before, or this program leaves. Rejects as `Uploads.add` does.
   */
  add(source: FileSource, options?: AddOptions): Promise<Upload>
  /** Leaves. The other program continues the added uploads. Idempotent. */
  close(): Promise<void>
}

/** Joins the program that serves the tasks. Rejects as `Control.ask` does if there is none. */
export async function joinTasks(control: Control): Promise<JoinedTasks> {
  const joined = new JoiningTasks(control)
  await joined.open()
  return joined
}

interface Addition {
  readonly task: NewTask
  readonly resolve: (id: number) => void
  readonly reject: (error: OspError) => void
}

class JoiningTasks implements JoinedTasks {
  readonly joined = true
  readonly #control: Control
  readonly #remote: RemoteTasks
  readonly #leaving = new AbortController()
  readonly #uploads = new Map<number, ClientUpload>()
  /** The ends of uploads that may be this program's, while it adds files. */
  readonly #ends = new Map<number, Ended>()
  #waiting: Addition[] = []
  /** The number of calls of `add` that have not settled. */
  #pending = 0
  #isAdding = false
  #subscriber = 0
  #lost: OspError | undefined

  constructor(control: Control) {
    this.#control = control
    this.#remote = new RemoteTasks(control)
  }

  async open(): Promise<void> {
    const numbered = deferred<number>()
    const take = (answer: unknown) => {
      const read = readAnswer(answers.await, answer)
      if ('waiter' in read) numbered.resolve(read.waiter)
      else this.#ended(read)
    }
    const ending = this.#control.ask({ do: 'await' }, take, this.#leaving.signal)
    const lost = (error: unknown) => {
      this.#lose()
      numbered.reject(error)
    }
    ending.then(() => lost(new OspError('link-lost')), lost)
    this.#subscriber = await numbered.promise
  }

  async add(source: FileSource, options: AddOptions = {}): Promise<Upload> {
    this.#pending++
    try {
      return await this.#add(source, options)
    } finally {
      if (--this.#pending === 0) this.#ends.clear()
    }
  }

  async close(): Promise<void> {
    this.#leaving.abort()
    this.#lose()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #add(source: FileSource, { name = source.name, digest }: AddOptions): Promise<Upload> {
    const { ref } = source
    if (ref === undefined) throw new OspError('usage', `${name} cannot be found by another program`)
    const id = await new Promise<number>((resolve, reject) => {
      this.#waiting.push({ task: { ref, name, ...(digest && { digest }) }, resolve, reject })
      if (!this.#isAdding) void this.#addAll()
    })
    const known = this.#uploads.get(id)
    if (known) return known
    const upload = new ClientUpload(id, name, () => {}, ref)
    this.#uploads.set(id, upload)
    const end = this.#ends.get(id)
    if (end) this.#ended(end)
    else if (this.#lost) upload.move('close', this.#lost)
    return upload
  }

  /** Sends the additions. Those made during a request are sent together in the next one. */
  async #addAll(): Promise<void> {
    this.#isAdding = true
    // Other calls in the same turn join the first request.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const group = this.#waiting.splice(0, requestBounds.added)
      try {
        if (this.#lost) throw this.#gone()
        const added = await this.#remote.add(
          group.map(({ task }) => task),
          this.#subscriber,
        )
        for (const [at, one] of group.entries()) {
          const each = added[at]
          if (each && 'id' in each) one.resolve(each.id)
          else one.reject(each?.failure ?? new OspError('malformed', 'an answer is missing'))
        }
      } catch (error) {
        const failure = isAbsent(error) ? this.#gone() : OspError.from(error)
        for (const { reject } of group) reject(failure)
      }
    }
    this.#isAdding = false
  }

  #ended(end: Ended): void {
    const upload = this.#uploads.get(end.ended)
    if (!upload) {
      if (this.#pending > 0) this.#ends.set(end.ended, end)
      return
    }
    this.#ends.delete(end.ended)
    if (upload.over) return
    upload.addTransferred(end.transferred)
    if ('file' in end) {
      upload.move('begin')
      upload.move('verify')
      upload.stored(end.file)
      return
    }
    const error = readFailure(end.why)
    if (error.code === 'cancelled') upload.move('cancel')
    upload.move(error.code === 'cancelled' ? 'cancelled' : error.code === 'closed' ? 'close' : 'fail', error)
  }

  /** Returns the error for additions after the end. */
  #gone(): OspError {
    if (this.#leaving.signal.aborted) return new OspError('closed')
    return new OspError('shutting-down', 'the program that sends has ended; the same command sends the missing files')
  }

  /** Ends the uploads when the connection to the other program has ended. */
  #lose(): void {
    this.#lost ??= new OspError('closed', 'the program that sends it has ended')
    for (const upload of this.#uploads.values()) if (!upload.over) upload.move('close', this.#lost)
  }
}
