import { OspError } from '../../errors.ts'
import type { Claim } from '../../ports/storage.ts'
import { recordKey } from './keys.ts'

interface Fence {
  token: number
  readonly running: Set<Promise<unknown>>
}

/** Knows the present token of each record, and lets nobody write under another one. */
export class Fences {
  readonly #fences = new Map<string, Fence>()
  #highest = 0

  /** A token above all that were ever seen here. */
  next(): number {
    return this.#highest + 1
  }

  /** Runs `work` if the claim still stands, else rejects with OspError `superseded`. */
  async guard<T>(claim: Claim, work: () => Promise<T>): Promise<T> {
    const fence = this.#fences.get(recordKey(claim.user, claim.name))
    if (fence?.token !== claim.token) {
      throw new OspError('superseded', `the upload ${claim.name} of ${claim.user} has been taken over or removed`)
    }
    const running = work()
    fence.running.add(running)
    try {
      return await running
    } finally {
      fence.running.delete(running)
    }
  }

  /** Lets only `token` write from now on; resolves when what runs under an older one has ended. */
  async raise(user: string, name: string, token: number): Promise<void> {
    const key = recordKey(user, name)
    const fence = this.#fences.get(key) ?? { token, running: new Set() }
    this.#fences.set(key, fence)
    fence.token = token
    this.#highest = Math.max(this.#highest, token)
    await Promise.allSettled(fence.running)
  }

  /** Lets nobody write; resolves when what runs has ended. */
  async drop(user: string, name: string): Promise<void> {
    const key = recordKey(user, name)
    const fence = this.#fences.get(key)
    this.#fences.delete(key)
    await Promise.allSettled(fence?.running ?? [])
  }

  /** Forgets every claim, but not how high the tokens were. */
  clear(): void {
    this.#fences.clear()
  }
}
