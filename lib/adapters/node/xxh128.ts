import { createXXHash128, type IHasher } from 'hash-wasm'
import type { Digest } from '../../ports/platform.ts'

/**
 * One WebAssembly hasher lent to one digest at a time. An instance of its own for each digest would cost
 * megabytes and could only be made asynchronously.
 */
class SharedHasher {
  readonly #hasher: IHasher
  #holder: Xxh128 | undefined

  constructor(hasher: IHasher) {
    this.#hasher = hasher
  }

  /** The hasher, holding the state of `digest`; that of its last holder has been handed back. */
  lend(digest: Xxh128): IHasher {
    if (this.#holder === digest) return this.#hasher
    if (this.#holder) this.#holder.state = this.#hasher.save()
    if (digest.state) this.#hasher.load(digest.state)
    else this.#hasher.init()
    this.#holder = digest
    return this.#hasher
  }

  /** Forgets who holds it: the state was used up. */
  release(): void {
    this.#holder = undefined
  }
}

/** XXH128 with seed 0; its digest is in the canonical form, big-endian. */
class Xxh128 implements Digest {
  /** What the hasher must be given to go on; current only while this digest does not hold the hasher. */
  state: Uint8Array | undefined
  readonly #shared: SharedHasher
  #used = false

  constructor(shared: SharedHasher, state?: Uint8Array) {
    this.#shared = shared
    this.state = state
  }

  update(bytes: Uint8Array): void {
    this.#lend().update(bytes)
  }

  copy(): Digest {
    return new Xxh128(this.#shared, this.#lend().save())
  }

  digest(): Uint8Array {
    const digest = this.#lend().digest('binary')
    this.#used = true
    this.#shared.release()
    return digest
  }

  #lend(): IHasher {
    if (this.#used) throw new Error('this digest was taken already')
    return this.#shared.lend(this)
  }
}

/** Resolves with a function that makes XXH128 digests, which share one WebAssembly instance. */
export async function loadXxh128(): Promise<() => Digest> {
  const shared = new SharedHasher(await createXXHash128())
  return () => new Xxh128(shared)
}
