import { createXXHash128 } from 'hash-wasm'
import type { Digest } from '../../ports/platform.ts'

/**
 * Resolves with a function that makes XXH128 digests with seed 0, in the canonical big-endian form. They share one
 * WebAssembly hasher, which one of them holds at a time: an instance for each would cost megabytes and could be created
 * only asynchronously.
 */
export async function loadXxh128(): Promise<() => Digest> {
  const hasher = await createXXHash128()
  let holder: { saved: Uint8Array | undefined } | undefined
  const create = (saved?: Uint8Array): Digest => {
    /** The saved state of this digest is current only while it does not hold the hasher. */
    const own = { saved }
    let isFinished = false
    const lend = () => {
      if (isFinished) throw new Error('this digest was already finished')
      if (holder === own) return hasher
      if (holder) holder.saved = hasher.save()
      if (own.saved) hasher.load(own.saved)
      else hasher.init()
      holder = own
      return hasher
    }
    return {
      update(bytes) {
        lend().update(bytes)
      },
      copy: () => create(lend().save()),
      digest() {
        const digest = lend().digest('binary')
        isFinished = true
        holder = undefined
        return digest
      },
    }
  }
  return () => create()
}
