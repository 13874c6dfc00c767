import { OspError } from '../../errors.ts'
import type { Control } from '../../ports/control.ts'
import type { FileSource } from '../../ports/source.ts'
import { deferred } from '../../runtime/deferred.ts'
import { GroupCommit, type Uncommitted } from '../../runtime/groupCommit.ts'
import { ClientUpload, type Upload } from '../uploads/upload.ts'
import type { AddOptions } from '../uploads/uploadList.ts'
import { isAbsent, RemoteTasks } from './remoteTasks.ts'
import { answers, type Ended, readAnswer, readFailure } from './requests.ts'
import type { NewTask } from './taskController.ts'

interface Addition {
  readonly task: NewTask
  id: number
}

/** The tasks of another sending program, to which this program adds its files. */
export class JoinedTasks implements AsyncDisposable {
  readonly joined = true
  readonly #control: Control
  readonly #remote: RemoteTasks
  readonly #leaving = new AbortController()
  readonly #uploads = new Map<number, ClientUpload>()
  /** The ends of unknown uploads, which may be this program's while it adds files. */
  readonly #ends = new Map<number, Ended>()
  readonly #additions = new GroupCommit<Addition>({ commit: (group) => this.#commit(group) })
  #pending = 0
  #subscriber = 0
  #lost: OspError | undefined

  private constructor(control: Control) {
    this.#control = control
    this.#remote = new RemoteTasks(control)
  }

  /** Joins the program that serves the tasks. Rejects as `Control.ask` does if there is none. */
  static async join(control: Control): Promise<JoinedTasks> {
    const tasks = new JoinedTasks(control)
    await tasks.#open()
    return tasks
  }

  async #open(): Promise<void> {
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

  /**
   * Adds a file to the uploads of the other program. The upload that it resolves with reports only its end. It fails with
   * `closed` if the other program ends before, or this program leaves. Rejects as `Uploads.add` does.
   */
  async add(source: FileSource, { name = source.name, digest }: AddOptions = {}): Promise<Upload> {
    const { ref } = source
    if (ref === undefined) throw new OspError('usage', `another program cannot find ${name}`)
    this.#pending++
    try {
      const addition: Addition = { task: { ref, name, ...(digest && { digest }) }, id: 0 }
      await this.#additions.add(addition)
      return this.#uploads.get(addition.id) ?? this.#added(addition)
    } finally {
      if (--this.#pending === 0) this.#ends.clear()
    }
  }

  /** Leaves. The other program continues the added uploads. Idempotent. */
  async close(): Promise<void> {
    this.#leaving.abort()
    this.#lose()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #added({ id, task: { name, ref } }: Addition): Upload {
    const upload = new ClientUpload(id, name, () => {}, ref)
    this.#uploads.set(id, upload)
    const end = this.#ends.get(id)
    if (end) this.#ended(end)
    else if (this.#lost) upload.move('close', this.#lost)
    return upload
  }

  async #commit(group: readonly Uncommitted<Addition>[]): Promise<void> {
    try {
      if (this.#lost) throw this.#gone()
      const tasks = group.map(({ item }) => item.task)
      const added = await this.#remote.add(tasks, this.#subscriber)
      for (const [at, addition] of group.entries()) {
        const one = added[at]
        if (one && 'id' in one) addition.item.id = one.id
        else addition.reject(one?.failure ?? new OspError('malformed', 'the answer lacks a task'))
      }
    } catch (error) {
      throw isAbsent(error) ? this.#gone() : error
    }
  }

  #ended(end: Ended): void {
    const upload = this.#uploads.get(end.ended)
    if (!upload && this.#pending > 0) this.#ends.set(end.ended, end)
    if (!upload || upload.over) return
    upload.transferred += end.transferred
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
    const text = 'the sending program has ended; run the same command again to send the missing files'
    return new OspError('shutting-down', text)
  }

  /** Ends the uploads when the connection to the other program has ended. */
  #lose(): void {
    this.#lost ??= new OspError('closed', 'the sending program has ended')
    for (const upload of this.#uploads.values()) if (!upload.over) upload.move('close', this.#lost)
  }
}
