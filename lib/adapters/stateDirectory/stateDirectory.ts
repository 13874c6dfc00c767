import { join, resolve } from 'node:path'
import * as z from 'zod/mini'
import { errorCode, storedFileName, userName } from '../../nameSchemas.ts'
import { checkArgument, kinds } from '../../options.ts'
import type { ClientState, Receipt, ReceiptStore, StoredTask, TaskStore } from '../../ports/clientState.ts'
import { GroupCommit } from '../../runtime/groupCommit.ts'
import { retriable } from '../../runtime/retriable.ts'
import { file } from '../node/fileSource.ts'
import { DigestFile } from './digestFile.ts'
import { LineFile } from './lineFile.ts'
import { outboxDirectory } from './outboxDirectory.ts'
import { spool, spoolRemover, sweepSpool, wantedRefs } from './spool.ts'

/**
 * Returns the client state in a directory, for one user on one server. The directory is created at the first write. Only one
 * process at a time may use it to receive messages, and one for uploads. Any number of processes can send messages.
 */
export function stateDirectory(path: string): Required<ClientState> {
  checkArgument('stateDirectory', 'the path', kinds.path, path)
  const directory = resolve(path)
  const tasks = new TaskFile(join(directory, 'tasks'))
  // A program that was killed while it read a stream leaves an incomplete copy.
  const sweep = retriable(async () => await sweepSpool(directory, wantedRefs(await tasks.load())))
  return {
    receipts: new ReceiptFile(join(directory, 'receipts')),
    tasks,
    digests: new DigestFile(join(directory, 'digests')),
    outbox: outboxDirectory(join(directory, 'outbox')),
    reopen: (ref) => file(ref),
    async spool(stream, name) {
      await sweep()
      return await spool(directory, stream, name)
    },
    discard: spoolRemover(directory),
  }
}

/** A file is rewritten when it has `growth` times the lines that it needs, but at least `least` lines. */
const receiptLines = { growth: 8, least: 256 } as const
const taskLines = { growth: 4, least: 1_024 } as const

const receipt = z.object({
  seq: z.int().check(z.minimum(0)),
  sender: userName,
  id: z.string().check(z.regex(/^[0-9a-f]{32}$/u)),
  result: z.exactOptional(z.string()),
})

/** Stores receipts in a file. Each `put` appends a line. The file is occasionally rewritten with the latest lines only. */
class ReceiptFile implements ReceiptStore {
  readonly #file: LineFile
  /** The latest receipts, at least as many as the last `put` requested; `undefined` until they are loaded. */
  #latest: readonly Receipt[] | undefined

  constructor(path: string) {
    this.#file = new LineFile(path)
  }

  async load(): Promise<readonly Receipt[]> {
    const values = await this.#file.load()
    this.#latest = values.flatMap((value) => receipt.safeParse(value).data ?? [])
    return this.#latest
  }

  async put({ seq, sender, id, result }: Receipt, most: number): Promise<void> {
    const added = { seq, sender, id, ...(result !== undefined && { result }) }
    const latest = [...(this.#latest ?? (await this.load())), added].slice(-most)
    await this.#file.store([added], Math.max(receiptLines.least, most * receiptLines.growth), () => latest)
    this.#latest = latest
  }
}

const task = z.object({
  id: z.int().check(z.minimum(1)),
  ref: z.string(),
  name: storedFileName,
  algorithm: z.enum(['md5', 'sha256', 'xxh128']),
  metadata: z.exactOptional(z.record(z.string(), z.string())),
  notice: z.exactOptional(
    z.object({ id: z.string(), recipients: z.readonly(z.array(userName)), receipt: z.exactOptional(z.boolean()) }),
  ),
  state: z.enum(['open', 'paused', 'cancelling', 'failed', 'done']),
  size: z.int().check(z.minimum(0)),
  durable: z.int().check(z.minimum(0)),
  reason: z.exactOptional(z.object({ code: errorCode, text: z.string() })),
  endedAt: z.exactOptional(z.number()),
})

/** The ids of completed tasks, each with its size and the time at which it completed. */
const completions = z.object({
  done: z.array(z.tuple([z.int().check(z.minimum(1)), z.int().check(z.minimum(0)), z.number()])),
})

/** New tasks. */
const additions = z.object({ tasks: z.array(task) })

const removal = z.object({ removed: z.array(z.int().check(z.minimum(1))) })

const taskLine = z.union([task, additions, completions, removal])

/** A task to store, or the id of one to remove. */
type Change = StoredTask | number

type TaskLine = StoredTask | z.infer<typeof additions> | z.infer<typeof completions> | z.infer<typeof removal>

/** Stores tasks in a file. Changes that are requested during a write are written together in the next one. */
class TaskFile implements TaskStore {
  readonly #file: LineFile
  readonly #tasks = new Map<number, StoredTask>()
  readonly #commits = new GroupCommit<readonly Change[]>({
    gathered: () => new Promise(setImmediate),
    commit: (group) => {
      this.#next = undefined
      return this.#store(group.flatMap(({ item }) => item))
    },
  })
  /** The changes of the next write, which share a promise. */
  #next: { readonly changes: Change[]; readonly written: Promise<void> } | undefined
  readonly #read = retriable(async () => {
    const values = await this.#file.load()
    for (const value of values) restore(this.#tasks, taskLine.safeParse(value).data)
  })

  constructor(path: string) {
    this.#file = new LineFile(path)
  }

  async load(): Promise<readonly StoredTask[]> {
    await this.#read()
    return [...this.#tasks.values()].sort((a, b) => a.id - b.id)
  }

  put(kept: StoredTask): Promise<void> {
    return this.#add(kept)
  }

  remove(id: number): Promise<void> {
    return this.#add(id)
  }

  #add(change: Change): Promise<void> {
    if (!this.#next) {
      const changes: Change[] = []
      this.#next = { changes, written: this.#commits.add(changes) }
    }
    this.#next.changes.push(change)
    return this.#next.written
  }

  async #store(changes: readonly Change[]): Promise<void> {
    await this.#read()
    const most = Math.max(taskLines.least, this.#tasks.size * taskLines.growth)
    const lines = linesOf(changes, this.#tasks)
    await this.#file.store(lines, most, () => [...apply(changes, new Map(this.#tasks)).values()])
    apply(changes, this.#tasks)
  }
}

/**
 * Combines the first tasks of each id into one line before the other changes, the completions of known tasks into one line after
 * them, and all removals into the line after that. The order does not matter, because a completed task is only removed, and ids are
 * never reused.
 */
function linesOf(changes: readonly Change[], known: ReadonlyMap<number, StoredTask>): readonly TaskLine[] {
  const lines: TaskLine[] = []
  const added = new Map<number, StoredTask>()
  const done: z.infer<typeof completions>['done'] = []
  const removed: number[] = []
  for (const change of changes) {
    if (typeof change === 'number') removed.push(change)
    else if (change.endedAt !== undefined && completes(change, known.get(change.id))) {
      done.push([change.id, change.size, change.endedAt])
    } else if (known.has(change.id) || added.has(change.id)) lines.push(change)
    else added.set(change.id, change)
  }
  if (added.size > 0) lines.unshift({ tasks: [...added.values()] })
  if (done.length > 0) lines.push({ done })
  if (removed.length > 0) lines.push({ removed })
  return lines
}

function apply(changes: readonly Change[], tasks: Map<number, StoredTask>): Map<number, StoredTask> {
  for (const change of changes) {
    if (typeof change === 'number') tasks.delete(change)
    else tasks.set(change.id, change)
  }
  return tasks
}

/** Applies a line of the file. */
function restore(tasks: Map<number, StoredTask>, line: TaskLine | undefined): void {
  if (!line) return
  if ('removed' in line) for (const id of line.removed) tasks.delete(id)
  else if ('tasks' in line) for (const each of line.tasks) tasks.set(each.id, each)
  else if ('done' in line) for (const completion of line.done) complete(tasks, completion)
  else tasks.set(line.id, line)
}

const completes = (task: StoredTask, known: StoredTask | undefined) =>
  task.state === 'done' &&
  task.durable === task.size &&
  task.ref === known?.ref &&
  task.name === known.name &&
  task.algorithm === known.algorithm &&
  task.metadata === known.metadata &&
  task.notice === known.notice

function complete(tasks: Map<number, StoredTask>, [id, size, endedAt]: readonly [number, number, number]): void {
  const task = tasks.get(id)
  if (!task) return
  const { reason: _reason, ...known } = task
  tasks.set(id, { ...known, state: 'done', size, durable: size, endedAt })
}
