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

/** The content of a line: the state of a task, or the removal of one. */
type Change = StoredTask | z.infer<typeof removal>

/** Stores tasks in a file. Changes that are requested during a write are written together in the next one. */
export class TaskFile implements TaskStore {
  readonly #file: LineFile
  /** The tasks in the file. */
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
        const changes = values.flatMap((value) => task.safeParse(value).data ?? removal.safeParse(value).data ?? [])
        apply(changes, this.#tasks)
      },
      (error: unknown) => {
        this.#reading = undefined
        throw error
      },
    )
    return this.#reading
  }

  async #store(changes: readonly Change[]): Promise<void> {
    const most = Math.max(leastLines, this.#tasks.size * growth)
    await this.#file.store(changes, most, () => [...apply(changes, new Map(this.#tasks)).values()])
    apply(changes, this.#tasks)
  }
}

function apply(changes: readonly Change[], tasks: Map<number, StoredTask>): Map<number, StoredTask> {
  for (const change of changes) {
    if ('removed' in change) tasks.delete(change.removed)
    else tasks.set(change.id, change)
  }
  return tasks
}
