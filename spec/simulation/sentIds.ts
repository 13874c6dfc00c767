import { keyOf } from './post.ts'
import type { World } from './world.ts'

/** The ids that mailboxes have to remember: none is so old in any world that it may be forgotten. */
export class SentIds {
  readonly #world: World
  /** By sender, the keys of what was durably stored. */
  readonly #senders = new Map<string, Set<string>>()

  constructor(world: World) {
    this.#world = world
  }

  /** A message is durable, perhaps one that was before. Those whose record was damaged are forgotten. */
  add(sender: string, id: Uint8Array): void {
    const { queues, disk } = this.#world
    const own = this.#senders.get(sender) ?? new Set()
    this.#senders.set(sender, own.add(keyOf(sender, id)))
    let all = 0
    for (const keys of this.#senders.values()) {
      const known = [...keys].filter((key) => !disk.rot.hasHit(key)).length
      queues.saw('message ids of a sender', known)
      all += known
    }
    queues.saw('message ids', all)
  }
}
