import { z } from 'zod'
import { type ErrorCode, errors } from '../../errors.ts'
import { storedFileName } from '../../nameSchemas.ts'
import type { StoredTask, TaskStore } from '../../ports/clientState.ts'
import { GroupCommit } from '../../runtime/groupCommit.ts'
import { LineFile } from './lineFile.ts'

/** The file is rewritten when it has `growth` times the lines that its tasks need, but at least `leastLines`. */
const growth = 4
const leastLines = 1_024

const task = z.object({
  id: z.int().min(1),
  ref: z.string(),
  name: storedFileName,
  algorithm: z.enum(['md5', 'sha256', 'xxh128']),
  state: z.enum(['open', 'paused', 'cancelling', 'failed', 'done']),
  size: z.int().min(0),
  durable: z.int().min(0),
  why: z
    .object({
      code: z.custom<ErrorCode>((code) => typeof code === 'string' && Object.hasOwn(errors, code)),
      text: z.string(),
    })
    .exactOptional(),
  endedAt: z.number().exactOptional(),
})

const removal = z.object({ removed: z.int().min(1) })

/** What a line says: a task as it then stood, or that one was removed. */
type Change = StoredTask | z.infer<typeof removal>

/** Tasks in a file. What comes while a line is written goes out together. */
export class TaskFile implements TaskStore {
  readonly #file: LineFile
  /** As the file has them. */
  readonly #tasks = new Map<number, StoredTask>()
  readonly #commits = new GroupCommit<Change>({
    commit: async (group) => {
      await this.#read()
      await this.#store(group.map(({ item }) => item))
    },
  })
  #reading: Promise<void> | undefined

  constructor(path: string) {
    this.#file = new LineFile(path)
  }

  async load(): Promise<readonly StoredTask[]> {
    await this.#read()
    return [...this.#tasks.values()].sort((a, b) => a.id - b.id)
  }

  put(kept: StoredTask): Promise<void> {
    return this.#commits.add(kept)
  }

  remove(id: number): Promise<void> {
    return this.#commits.add({ removed: id })
  }

  #read(): Promise<void> {
    this.#reading ??= this.#file.load().then(
      (values) => {
        for (const value of values) {
          const change = task.safeParse(value).data ?? removal.safeParse(value).data
          if (change) apply(change, this.#tasks)
        }
      },
      (error: unknown) => {
        this.#reading = undefined
        throw error
      },
    )
    return this.#reading
  }

  /** Where adding lines has failed the next ones replace the file, and with it what was left of those. */
  async #store(changes: readonly Change[]): Promise<void> {
    const isShort = this.#file.lines < Math.max(leastLines, this.#tasks.size * growth)
    if (this.#file.isSound && isShort) {
      await this.#file.append(changes)
      for (const change of changes) apply(change, this.#tasks)
      return
    }
    const next = new Map(this.#tasks)
    for (const change of changes) apply(change, next)
    await this.#file.replace([...next.values()])
    for (const change of changes) apply(change, this.#tasks)
  }
}

function apply(change: Change, tasks: Map<number, StoredTask>): void {
  if ('removed' in change) tasks.delete(change.removed)
  else tasks.set(change.id, change)
}
