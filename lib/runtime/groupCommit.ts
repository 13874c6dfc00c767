/** An item that waits for its commit. */
export interface Uncommitted<T> {
  readonly item: T
  readonly resolve: () => void
  /** Rejects the call for this item only. The other items of its group can still be committed. */
  reject(error: unknown): void
  readonly isRejected: boolean
}

class Entry<T> implements Uncommitted<T> {
  readonly item: T
  readonly resolve: () => void
  readonly #reject: (error: unknown) => void
  isRejected = false

  constructor(item: T, resolve: () => void, reject: (error: unknown) => void) {
    this.item = item
    this.resolve = resolve
    this.#reject = reject
  }

  reject(error: unknown): void {
    this.isRejected = true
    this.#reject(error)
  }
}

export interface GroupCommitOptions<T> {
  /** Resolves when no more items should join the group; by default when the current microtasks have run. */
  readonly gathered?: () => Promise<void>
  /** Commits a group, in its order. After `wake` the group can be empty. */
  readonly commit: (group: readonly Uncommitted<T>[]) => Promise<void>
  /** Undoes an item of a failed commit; called for the last item first. If it is set, the waiting items fail too. */
  readonly undo?: (item: T) => void
}

/** Commits items in groups: the items that are added during a commit are committed together in the next one. */
export class GroupCommit<T> {
  readonly #options: GroupCommitOptions<T>
  #waiting: Uncommitted<T>[] = []
  /** Whether an item that was added without `mayWait` is waiting. */
  #isDue = false
  #isWoken = false
  #running: Promise<void> | undefined

  constructor(options: GroupCommitOptions<T>) {
    this.#options = options
  }

  /** Resolves when the item, and all earlier items, are committed. With `mayWait` the item starts no commit. */
  add(item: T, mayWait = false): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push(new Entry(item, resolve, reject))
      if (mayWait) return
      this.#isDue = true
      this.#running ??= this.#run()
    })
  }

  /** Starts a commit of the waiting items, even if there are none. */
  wake(): void {
    this.#isWoken = true
    this.#running ??= this.#run()
  }

  /** Resolves when no commit is under way. */
  async idle(): Promise<void> {
    await this.#running
  }

  async #run(): Promise<void> {
    const { gathered } = this.#options
    // Items that are added in the same turn of the event loop belong to the same group.
    for (await gathered?.(); this.#isWoken || this.#isDue; await gathered?.()) {
      this.#isWoken = false
      this.#isDue = false
      const group = this.#waiting
      this.#waiting = []
      try {
        await this.#options.commit(group)
        for (const { resolve } of group) resolve()
      } catch (error) {
        this.#fail(group, error)
      }
    }
    this.#running = undefined
  }

  #fail(group: readonly Uncommitted<T>[], error: unknown): void {
    const { undo } = this.#options
    const failed = group.filter(({ isRejected }) => !isRejected)
    if (undo) {
      failed.push(...this.#waiting)
      this.#waiting = []
      this.#isDue = false
      for (const { item } of failed.toReversed()) undo(item)
    }
    for (const each of failed) each.reject(error)
  }
}
