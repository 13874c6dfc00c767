interface Turn {
  readonly name: string
  readonly over: Promise<unknown>
}

/** Works about names of users, all at once but for those whose names collide: they go one after another. */
export class NameLocks {
  readonly #turns = new Map<string, Set<Turn>>()

  /** Runs `work` when all that came before it have ended whose names `collides` is true of. */
  async run<T>(user: string, name: string, collides: (other: string) => boolean, work: () => Promise<T>): Promise<T> {
    const turns = this.#turns.get(user) ?? new Set<Turn>()
    this.#turns.set(user, turns)
    const before = [...turns].filter((turn) => collides(turn.name)).map(({ over }) => over)
    const done = before.length > 0 ? Promise.allSettled(before).then(work) : work()
    const turn = { name, over: done }
    turns.add(turn)
    try {
      return await done
    } finally {
      turns.delete(turn)
      if (turns.size === 0 && this.#turns.get(user) === turns) this.#turns.delete(user)
    }
  }
}
