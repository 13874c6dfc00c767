/** A connection that the server does not keep. */
export interface Rejected {
  /** Tells it why and closes it. Resolves when it is gone. */
  close(): Promise<void>
  /** Closes it at once. */
  destroy(): void
}

/** Connections that are told why the server does not keep them, up to a bound; further ones are closed without a word. */
export class RejectedConnections {
  readonly #most: number
  readonly #leaving = new Set<Rejected>()

  constructor(most: number) {
    this.#most = most
  }

  /** Those that have not gone yet. */
  get size(): number {
    return this.#leaving.size
  }

  async add(connection: Rejected): Promise<void> {
    if (this.#leaving.size >= this.#most) return connection.destroy()
    this.#leaving.add(connection)
    await connection.close()
    this.#leaving.delete(connection)
  }

  /** Waits for none of them any more. */
  end(): void {
    for (const connection of this.#leaving) connection.destroy()
  }
}
