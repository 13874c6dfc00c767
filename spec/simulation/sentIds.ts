import type { SimulatedDisk } from './disk.ts'
import { keyOf } from './post.ts'
import type { Queues } from './queues.ts'

interface IdParts {
  readonly queues: Queues
  readonly disk: Pick<SimulatedDisk, 'rot'>
}

/** The ids that mailboxes must remember: in no world is an id old enough to be forgotten. */
export class SentIds {
  readonly #parts: IdParts
  /** Keys of the durably stored messages, by sender. */
  readonly #senders = new Map<string, Set<string>>()

  constructor(parts: IdParts) {
    this.#parts = parts
  }

  /** A message is durable, perhaps for the second time. Ids with a damaged record are forgotten. */
  add(sender: string, id: Uint8Array): void {
    const own = this.#senders.get(sender) ?? new Set()
    this.#senders.set(sender, own.add(keyOf(sender, id)))
    let all = 0
    for (const keys of this.#senders.values()) {
      const known = [...keys].filter((key) => !this.#parts.disk.rot.hasHit(key)).length
      this.#parts.queues.saw('message ids of a sender', known)
      all += known
    }
    this.#parts.queues.saw('message ids', all)
  }
}
