import { join } from 'node:path'
import * as z from 'zod/mini'
import { KiB, MiB } from '../../limits.ts'
import { userName } from '../../nameSchemas.ts'
import type { OutboxStore, QueuedMessage } from '../../ports/clientState.ts'
import { GroupCommit } from '../../runtime/groupCommit.ts'
import { directoryControl } from '../controlSocket/controlSocket.ts'
import { quickCalls } from '../disk/quickCalls.ts'
import { LineFile } from './lineFile.ts'

/** Returns the outbox in a directory, which any number of programs can use. The directory is created at the first use. */
export function outboxDirectory(path: string): OutboxStore {
  return Object.assign(new OutboxFile(join(path, 'messages')), {
    control: directoryControl(path),
    isUsed: async () => (await quickCalls.lstat(path)) !== undefined,
  })
}

const wholeNumber = z.int().check(z.minimum(1))
const base64 = z.string().check(z.regex(/^[A-Za-z0-9+/]*={0,2}$/u))

const addition = z.object({
  number: wholeNumber,
  id: z.string().check(z.regex(/^[0-9a-f]{32}$/u)),
  recipients: z.readonly(z.array(userName)),
  body: base64,
  queuedAt: z.number(),
  knownUntil: z.exactOptional(z.number()),
})

const change = z.union([
  addition,
  z.object({ sent: z.array(wholeNumber), knownUntil: z.number() }),
  z.object({ removed: z.array(wholeNumber) }),
])

type OutboxLine = z.infer<typeof change>

/** The file is rewritten when it is longer than `growth` times the messages in it, but at least `leastBytes` long. */
const rewriting = { growth: 4, leastBytes: MiB } as const

/** The approximate length of a line, without the body of its message. */
const lineBytes = KiB

/** Stores an outbox in a file. Changes that are requested in the same turn, or during a write, are written together. */
class OutboxFile implements OutboxStore {
  readonly #file: LineFile
  /** The lines of the messages in the file, by number. */
  readonly #messages = new Map<number, z.infer<typeof addition>>()
  #messageBytes = 0
  #fileBytes = 0
  #isRead = false
  readonly #commits = new GroupCommit<OutboxLine>({
    gathered: () => new Promise(setImmediate),
    commit: (group) => this.#store(group.map(({ item }) => item)),
  })

  constructor(path: string) {
    this.#file = new LineFile(path)
  }

  async load(): Promise<readonly QueuedMessage[]> {
    await this.#commits.idle()
    await this.#read()
    const messages = [...this.#messages.values()].sort((a, b) => a.number - b.number)
    return messages.map((message) => ({ ...message, body: new Uint8Array(Buffer.from(message.body, 'base64')) }))
  }

  add({ body, ...message }: QueuedMessage): Promise<void> {
    const { buffer, byteOffset, length } = body
    return this.#commits.add({ ...message, body: Buffer.from(buffer, byteOffset, length).toString('base64') })
  }

  mark(numbers: readonly number[], knownUntil: number): Promise<void> {
    return this.#commits.add({ sent: [...numbers], knownUntil })
  }

  remove(numbers: readonly number[]): Promise<void> {
    return this.#commits.add({ removed: [...numbers] })
  }

  async #read(): Promise<void> {
    const values = await this.#file.load()
    this.#messages.clear()
    this.#messageBytes = 0
    this.#fileBytes = 0
    for (const value of values) {
      const line = change.safeParse(value).data
      if (line) this.#apply(line)
    }
    this.#isRead = true
  }

  async #store(lines: readonly OutboxLine[]): Promise<void> {
    if (!this.#isRead) await this.#read()
    const most = Math.max(rewriting.leastBytes, rewriting.growth * this.#messageBytes)
    const isLong = this.#fileBytes > most
    const rewritten = () => {
      for (const line of lines) this.#apply(line)
      this.#fileBytes = this.#messageBytes
      return [...this.#messages.values()]
    }
    try {
      await this.#file.store(combined(lines), isLong ? 0 : Number.POSITIVE_INFINITY, rewritten)
    } catch (error) {
      // Some or all of the lines may be stored.
      this.#isRead = false
      throw error
    }
    for (const line of lines) this.#apply(line)
  }

  /** Applies a line. Applying it again has no further effect. */
  #apply(line: OutboxLine): void {
    if ('removed' in line) for (const number of line.removed) this.#remove(number)
    else if ('sent' in line) {
      for (const number of line.sent) {
        const message = this.#messages.get(number)
        if (message) this.#messages.set(number, { ...message, knownUntil: line.knownUntil })
      }
    } else {
      this.#remove(line.number)
      this.#messages.set(line.number, line)
      this.#messageBytes += sizeOf(line)
    }
    this.#fileBytes += sizeOf(line)
  }

  #remove(number: number): void {
    const message = this.#messages.get(number)
    if (message) this.#messageBytes -= sizeOf(message)
    this.#messages.delete(number)
  }
}

const sizeOf = (line: OutboxLine) =>
  'body' in line ? lineBytes + line.body.length : 16 * ('sent' in line ? line.sent : line.removed).length

/** Joins successive removals into one line. */
function combined(lines: readonly OutboxLine[]): readonly OutboxLine[] {
  const all: OutboxLine[] = []
  for (const line of lines) {
    const last = all.at(-1)
    if (last && 'removed' in last && 'removed' in line) last.removed.push(...line.removed)
    else all.push('removed' in line ? { removed: [...line.removed] } : line)
  }
  return all
}
