import { type BigIntStats, closeSync, constants, fstatSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { crc32 } from 'node:zlib'
import * as z from 'zod/mini'
import { errorCode, storedFileName, userName } from '../../nameSchemas.ts'
import { checkArgument, kinds } from '../../options.ts'
import type { ClientState, Receipt, ReceiptStore, StoredTask, TaskStore } from '../../ports/clientState.ts'
import { GroupCommit } from '../../runtime/groupCommit.ts'
import { jsonOf } from '../../runtime/json.ts'
import { retriable } from '../../runtime/retriable.ts'
import { makePath, replaceFile } from '../disk/directories.ts'
import { attempt, unless } from '../disk/faults.ts'
import { writeDurably } from '../disk/partialFile.ts'
import { durableWrites, quickCalls } from '../disk/quickCalls.ts'
import { openTrustedSync } from '../disk/rights.ts'
import { file } from '../node/fileSource.ts'
import { spool, spoolRemover, sweepSpool, wantedRefs } from './spool.ts'

/**
 * Returns the client state in a directory, for one user on one server. The directory is created at the first write. Only one
 * process at a time may use it for messages, and one for uploads.
 */
export function stateDirectory(path: string): Required<ClientState> {
  checkArgument('stateDirectory', 'the path', kinds.path, path)
  const directory = resolve(path)
  const tasks = new TaskFile(join(directory, 'tasks'))
  // A program that was killed while it read a stream has left a part of it.
  const sweep = retriable(async () => await sweepSpool(directory, wantedRefs(await tasks.load())))
  return {
    receipts: new ReceiptFile(join(directory, 'receipts')),
    tasks,
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

  async put({ seq, sender, id }: Receipt, most: number): Promise<void> {
    const added = { seq, sender, id }
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
  notice: z.exactOptional(z.object({ id: z.string(), recipients: z.readonly(z.array(userName)) })),
  state: z.enum(['open', 'paused', 'cancelling', 'failed', 'done']),
  size: z.int().check(z.minimum(0)),
  durable: z.int().check(z.minimum(0)),
  why: z.exactOptional(z.object({ code: errorCode, text: z.string() })),
  endedAt: z.exactOptional(z.number()),
})

/** The ids of completed tasks, each with its size and the time at which it completed. */
const completions = z.object({
  done: z.array(z.tuple([z.int().check(z.minimum(1)), z.int().check(z.minimum(0)), z.number()])),
})

const removal = z.object({ removed: z.array(z.int().check(z.minimum(1))) })

const taskLine = z.union([task, completions, removal])

/** A task to store, or the id of one to remove. */
type Change = StoredTask | number

type TaskLine = StoredTask | z.infer<typeof completions> | z.infer<typeof removal>

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
 * Combines the completions of known tasks into one line after the other changes, and all removals into the line after that. The
 * order does not matter, because a completed task is only removed, and ids are never reused.
 */
function linesOf(changes: readonly Change[], known: ReadonlyMap<number, StoredTask>): readonly TaskLine[] {
  const lines: TaskLine[] = []
  const done: z.infer<typeof completions>['done'] = []
  const removed: number[] = []
  for (const change of changes) {
    if (typeof change === 'number') removed.push(change)
    else if (change.endedAt !== undefined && completes(change, known.get(change.id))) {
      done.push([change.id, change.size, change.endedAt])
    } else lines.push(change)
  }
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
  const { why: _why, ...known } = task
  tasks.set(id, { ...known, state: 'done', size, durable: size, endedAt })
}

/** A CRC-32 in eight hexadecimal digits, a space, and JSON. */
const line = /^([0-9a-f]{8}) (.*)$/su

/** The time for which a file stays open after a write. */
const openMs = 1_000

/** A file of JSON lines, each with a CRC-32. Damaged lines are ignored. Calls must be made one after another. */
class LineFile {
  readonly #path: string
  #opened: { readonly fd: number; readonly place: string } | undefined
  #closing: NodeJS.Timeout | undefined
  /** Whether lines can be appended. Otherwise the file must be replaced. */
  #isSound = false
  #lines = 0

  constructor(path: string) {
    this.#path = path
  }

  async load(): Promise<readonly unknown[]> {
    const text = await unless(['ENOENT'], `reading ${this.#path}`, async () => {
      const fd = openTrustedSync(this.#path, constants.O_RDONLY)
      try {
        return readFileSync(fd, 'utf8')
      } finally {
        closeSync(fd)
      }
    })
    const lines = text?.split('\n') ?? []
    const values = lines.map(readLine).filter((value) => value !== undefined)
    this.#lines = Math.max(0, lines.length - 1)
    // The text after the last newline is empty if the last line is complete. A damaged line requires a replacement.
    this.#isSound = text !== undefined && values.length === this.#lines && lines.at(-1) === ''
    return values
  }

  /** Appends `added`. At `most` lines, or after damage or a failed write, it replaces all lines by `all` atomically. Durable. */
  async store(added: readonly unknown[], most: number, all: () => readonly unknown[]): Promise<void> {
    const isAppended = this.#isSound && this.#lines < most
    this.#isSound = false
    if (isAppended) {
      await attempt(`writing ${this.#path}`, async () => {
        clearTimeout(this.#closing)
        try {
          await writeDurably(await this.#open(), [Buffer.from(textOf(added))])
        } finally {
          this.#closing = setTimeout(() => this.#close(), openMs).unref()
        }
      })
      this.#lines += added.length
    } else {
      const values = all()
      await makePath(dirname(this.#path))
      await replaceFile(this.#path, textOf(values), true)
      this.#lines = values.length
    }
    this.#isSound = true
  }

  /** Returns the descriptor of the file, open for appending. The file stays open for `openMs` unless it is replaced. */
  async #open(): Promise<number> {
    const there = await quickCalls.lstat(this.#path)
    if (this.#opened && there && this.#opened.place === placeOf(there)) return this.#opened.fd
    this.#close()
    const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | durableWrites
    const fd = openTrustedSync(this.#path, flags)
    this.#opened = { fd, place: placeOf(fstatSync(fd, { bigint: true })) }
    return fd
  }

  #close(): void {
    const opened = this.#opened
    // The descriptor is free after a failed close too.
    this.#opened = undefined
    try {
      if (opened) closeSync(opened.fd)
    } catch {
      // All lines are durable already.
    }
  }
}

const placeOf = ({ dev, ino }: BigIntStats) => `${dev}:${ino}`

function textOf(values: readonly unknown[]): string {
  return values
    .map((value) => JSON.stringify(value))
    .map((json) => `${sumOf(json)} ${json}\n`)
    .join('')
}

/** Returns the value of a line, or `undefined` if the line is incomplete or damaged. */
function readLine(text: string): unknown {
  const [, sum, json = ''] = line.exec(text) ?? []
  // The checksum of an empty text is also valid.
  return sum === sumOf(json) ? jsonOf(json) : undefined
}

const sumOf = (text: string) => crc32(text).toString(16).padStart(8, '0')
