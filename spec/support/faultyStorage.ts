import type { Catalogue } from '../../lib/ports/catalogue.ts'
import type { PartialFile, Storage, UnnamedFiles } from '../../lib/ports/storage.ts'
import { type Deferred, deferred } from '../../lib/runtime/deferred.ts'
import { type Step, stepped } from './steppedStorage.ts'

/** A step on hold, which the spec completes or fails. */
export interface HeldStep {
  /** Resolves when the step has been reached. */
  readonly reached: Promise<void>
  go(): void
  fail(error: Error): void
}

/** A storage whose steps a spec can hold or fail. */
export class FaultyStorage implements Storage {
  readonly transfers: Storage['transfers']
  readonly files: Storage['files']
  readonly mailboxes: Storage['mailboxes']
  readonly catalogue?: Catalogue
  /** Number of times that each step was started. */
  readonly count = new Map<Step, number>()
  /** Names under which a file seems to be stored by another program. */
  readonly takenNames = new Set<string>()
  /** Offset of a byte of the partial files that is read as another one, until a file is truncated before it. */
  damagedAt = Infinity
  /** Bytes of files that another program has put into each user's folder; a count of the files finds them. */
  besides = 0
  #found = 0
  /** Number of times that files were counted, that records were listed, and that a published file was looked up. */
  recounts = 0
  looks = 0
  listings = 0
  readonly #counted = new Set<string>()
  /** Bytes of the disk that other files occupy. */
  taken = 0
  /** Number of open partial files. */
  partials = 0
  readonly #storage: Storage
  readonly #real: Storage
  readonly #held = new Map<Step, { when: 'before' | 'after'; reached: Deferred<void>; going: Deferred<void> }[]>()

  constructor(storage: Storage) {
    this.#real = storage
    this.#storage = stepped(storage, (step, run) => this.#step(step, run))
    const { transfers, files, mailboxes, catalogue } = this.#storage
    this.transfers = {
      ...transfers,
      records: (user) => {
        this.listings++
        return transfers.records(user)
      },
    }
    this.mailboxes = mailboxes
    if (catalogue) this.catalogue = catalogue
    this.files = {
      open: async (claim) => this.#faulty(await files.open(claim)),
      create: files.create,
      remove: files.remove,
      sweep: files.sweep,
      stored: async (user, name) => {
        this.looks++
        return this.takenNames.has(name) || files.stored(user, name)
      },
      used: (user, name) => files.used(user, name).then((bytes) => bytes + (name === undefined ? this.besides : 0)),
      ...(files.usage && {
        usage: async (user, recount) => {
          if (recount) this.recounts++
          if (recount || !this.#counted.has(user)) this.#found = this.besides
          this.#counted.add(user)
          const usage = await files.usage?.(user, recount)
          return { files: 0, folders: 0, ...usage, bytes: (usage?.bytes ?? 0) + this.#found }
        },
      }),
      space: async () => {
        const space = await files.space()
        return { ...space, free: space.free - this.taken }
      },
      heldBytes: files.heldBytes,
    }
  }

  async open(platform: Parameters<Storage['open']>[0]): Promise<void> {
    await this.#storage.open(platform)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#storage[Symbol.asyncDispose]()
  }

  /** Makes the storage one without totals and without record lookup. */
  forgetTotals(): void {
    const { record: _, unfinished: __, ...transfers } = this.transfers
    const { usage: ___, ...files } = this.files
    Object.assign(this, { transfers, files })
  }

  /** Makes the storage one that stores many files at once, each time in one step, as far as the real storage does. */
  storeTogether(): void {
    const { transfers, files } = this.#real
    Object.assign(this, {
      transfers: {
        ...this.transfers,
        announceAll: (...how: Parameters<NonNullable<typeof transfers.announceAll>>) =>
          this.#step('announce', async () => transfers.announceAll?.(...how)),
      },
      files: {
        ...this.files,
        ...(files.createAll && {
          createAll: (...what: Parameters<NonNullable<typeof files.createAll>>) =>
            this.#step('create', async () => {
              const created = await files.createAll?.(...what)
              if (!created) return undefined
              const publish: UnnamedFiles['publish'] = (...where) =>
                this.#step('publish', () => created.publish(...where))
              return { ...created, publish }
            }),
        }),
      },
    })
  }

  /** Holds the next such step, before or after it is done. */
  hold(step: Step, when: 'before' | 'after' = 'before'): HeldStep {
    const waiting = { when, reached: deferred<void>(), going: deferred<void>() }
    this.#held.set(step, [...(this.#held.get(step) ?? []), waiting])
    return {
      reached: waiting.reached.promise,
      go: () => waiting.going.resolve(),
      fail: (error) => waiting.going.reject(error),
    }
  }

  /** Fails the next such step. */
  fail(step: Step, error: Error): void {
    this.hold(step).fail(error)
  }

  async #step<T>(step: Step, run: () => Promise<T>): Promise<T> {
    this.count.set(step, (this.count.get(step) ?? 0) + 1)
    const held = this.#held.get(step)?.shift()
    const result = held?.when === 'after' ? await run() : undefined
    held?.reached.resolve()
    await held?.going.promise
    return held?.when === 'after' ? (result as T) : run()
  }

  #faulty(file: PartialFile): PartialFile {
    this.partials++
    let closed = false
    return {
      get length() {
        return file.length
      },
      write: file.write,
      read: async (into, offset) => {
        const length = await file.read(into, offset)
        const at = this.damagedAt - offset
        if (at >= 0 && at < length) into[at] = ~(into[at] ?? 0)
        return length
      },
      flush: file.flush,
      truncate: async (length) => {
        await file.truncate(length)
        if (length <= this.damagedAt) this.damagedAt = Infinity
      },
      publish: file.publish,
      [Symbol.asyncDispose]: async () => {
        await file[Symbol.asyncDispose]()
        if (!closed) this.partials--
        closed = true
      },
    }
  }
}
