/** Runs works one after another, in the order in which they came. One that fails doesn't stop the next. */
export class Queue {
  #last: Promise<unknown> = Promise.resolve()

  run<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work)
    this.#last = done.catch(() => {})
    return done
  }
}

/** A queue for each key; works of different keys run at once. */
export class KeyedQueues {
  readonly #queues = new Map<string, { readonly queue: Queue; waiting: number }>()

  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const entry = this.#queues.get(key) ?? { queue: new Queue(), waiting: 0 }
    this.#queues.set(key, entry)
    entry.waiting++
    try {
      return await entry.queue.run(work)
    } finally {
      if (--entry.waiting === 0) this.#queues.delete(key)
    }
  }
}
