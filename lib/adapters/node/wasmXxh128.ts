import { createXXHash128 } from 'hash-wasm'
import type { Digest } from '../../ports/platform.ts'

/**
 * Resolves with a function that makes XXH128 digests in WebAssembly. They share one hasher, which one of them holds at a time: an
 * instance for each would cost megabytes and could be created only asynchronously.
 */
export async function loadWasmXxh128(): Promise<() => Digest> {
  const hasher = await createXXHash128()
  let holder: { saved: Uint8Array | undefined } | undefined
  return () => {
    /** The saved state of this digest is current only while it does not hold the hasher. */
    const own: { saved: Uint8Array | undefined } = { saved: undefined }
    const lend = () => {
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
      digest() {
        own.saved = lend().save()
        holder = undefined
        return hasher.digest('binary')
      },
    }
  }
}
