/** Length of the block in which the sockets of a listener gather short frames. */
export const blockBytes = 16_384

/** A block of memory that is filled from its beginning. */
export class WriteBlock {
  bytes = Buffer.alloc(0)
  filled = 0

  /** Returns where the next `length` bytes belong, in a new block if they do not fit. */
  place(length: number): number {
    if (length > this.bytes.length - this.filled) {
      this.bytes = Buffer.allocUnsafeSlow(blockBytes)
      this.filled = 0
    }
    return this.filled
  }
}

/** A socket with frames that are written at the end of the turn. */
interface Writer {
  writeTurn(): void
}

/** What the sockets of one listener write at the end of a turn. A socket without unsent bytes needs no block of its own. */
export class TurnWrites {
  readonly block = new WriteBlock()
  #waiting: Writer[] = []

  /** Calls `writeTurn` of a socket at the end of the turn. */
  add(socket: Writer): void {
    if (this.#waiting.push(socket) > 1) return
    process.nextTick(() => {
      const sockets = this.#waiting
      this.#waiting = []
      for (const each of sockets) each.writeTurn()
    })
  }
}
