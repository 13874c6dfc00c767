/** An item that waits for its commit. */
export class Uncommitted<T> {
  readonly item: T
  readonly resolve: () => void
  readonly #reject: (error: unknown) => void
  isRejected = false

  constructor(item: T, resolve: () => void, reject: (error: unknown) => void) {
    this.item = item
    this.resolve = resolve
    this.#reject = reject
  }

  /** Rejects the call of this item alone. The rest of its group can still be committed. */
  reject(error: unknown): void {
    this.isRejected = true
    this.#reject(error)
  }
}

export interface GroupCommitOptions<T> {
  /** Commits a group, in its order. After `wake` the group can be empty. */
  readonly commit: (group: readonly Uncommitted<T>[]) => Promise<void>
  /** Undoes an item of a failed commit; called for the last item first. With it, a failure also fails the items that wait. */
  readonly undo?: (item: T) => void
}

/** Commits items in groups: the items that are added during a commit are committed together in the next one. */
export class GroupCommit<T> {
  readonly #options: GroupCommitOptions<T>
  #waiting: Uncommitted<T>[] = []
  #isWoken = false
  #running: Promise<void> | undefined

  constructor(options: GroupCommitOptions<T>) {
    this.#options = options
  }

  /** Resolves when the item, and all earlier items, are committed. */
  add(item: T): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push(new Uncommitted(item, resolve, reject))
      this.#start()
    })
  }

  /** Starts a commit, even of an empty group. */
  wake(): void {
    this.#isWoken = true
    this.#start()
  }

  /** Resolves when no commit is under way. */
  async idle(): Promise<void> {
    await this.#running
  }

  #start(): void {
    this.#running ??= this.#run()
  }

  async #run(): Promise<void> {
    // Items that are added in the same turn of the event loop belong to the same group.
    for (await undefined; this.#isWoken || this.#waiting.length > 0; await undefined) {
      this.#isWoken = false
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
      for (const { item } of failed.toReversed()) undo(item)
    }
    for (const each of failed) each.reject(error)
  }
}
