import { createXXHash128, type IHasher } from 'hash-wasm'
import type { Digest } from '../../ports/platform.ts'

/**
 * Lends one WebAssembly hasher to one digest at a time. A separate instance for each digest would cost megabytes and could
 * be created only asynchronously.
 */
class SharedHasher {
  readonly #hasher: IHasher
  #holder: Xxh128 | undefined

  constructor(hasher: IHasher) {
    this.#hasher = hasher
  }

  /** Returns the hasher with the state of `digest`, after saving the state of its previous holder. */
  lend(digest: Xxh128): IHasher {
    if (this.#holder === digest) return this.#hasher
    if (this.#holder) this.#holder.state = this.#hasher.save()
    if (digest.state) this.#hasher.load(digest.state)
    else this.#hasher.init()
    this.#holder = digest
    return this.#hasher
  }

  /** Forgets the holder, whose state is no longer needed. */
  release(): void {
    this.#holder = undefined
  }
}

/** XXH128 with seed 0. The digest is in the canonical big-endian form. */
class Xxh128 implements Digest {
  /** The saved state of the hasher. It is current only while this digest does not hold the hasher. */
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
    if (this.#used) throw new Error('this digest was already finished')
    return this.#shared.lend(this)
  }
}

/** Resolves with a function that makes XXH128 digests, which share one WebAssembly instance. */
export async function loadXxh128(): Promise<() => Digest> {
  const shared = new SharedHasher(await createXXHash128())
  return () => new Xxh128(shared)
}
