import { syncDirectory } from './directories.ts'

interface Flush {
  readonly done: Promise<void>
  next: Promise<void> | undefined
}

/** Flushes of directories, shared: all who ask while one of a directory is under way have the next one in common. */
export class DirectoryFlushes {
  readonly #sync: (path: string) => Promise<void>
  readonly #underWay = new Map<string, Flush>()

  constructor(sync: (path: string) => Promise<void> = syncDirectory) {
    this.#sync = sync
  }

  /** Resolves when a flush has succeeded that began after this call: the entries are durable. */
  flush(path: string): Promise<void> {
    const former = this.#underWay.get(path)
    if (!former) return this.#begin(path)
    // Where that one fails, so does this: what it was to write may be gone, and a later one would not say so again.
    former.next ??= former.done.then(() => this.#begin(path))
    return former.next
  }

  #begin(path: string): Promise<void> {
    const done = this.#sync(path)
    const flush: Flush = { done, next: undefined }
    this.#underWay.set(path, flush)
    const over = () => {
      if (this.#underWay.get(path) === flush) this.#underWay.delete(path)
    }
    done.then(over, over)
    return done
  }
}
