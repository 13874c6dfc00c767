import { createRequire } from 'node:module'
import type { Digest } from '../../ports/platform.ts'

/** The part of the optional package xxhash-addon that is used here. It does not check its arguments. */
interface NativeHashes {
  readonly XXHash128: { new (seed: Uint8Array): Digest; hash(bytes: Uint8Array): Uint8Array }
}

/** Computes digests. */
export interface DigestMaker {
  (): Digest
  /** Returns the digest of these bytes. Missing if this is not faster than `update` and `digest`. */
  readonly once?: (bytes: Uint8Array) => Uint8Array
}

/**
 * Resolves with a function that makes XXH128 digests with seed 0, in the canonical big-endian form: in native code where that is
 * installed, otherwise in WebAssembly, which needs about seven times the CPU time.
 */
export async function loadXxh128(): Promise<DigestMaker> {
  const native = nativeXxh128()
  if (native) return native
  const { loadWasmXxh128 } = await import('./wasmXxh128.ts')
  return loadWasmXxh128()
}

/** Returns a function that makes digests in native code, or `undefined` if there is none for this machine. */
export function nativeXxh128(): DigestMaker | undefined {
  try {
    // A bundler would follow an import, and could not bundle the binary.
    const { XXHash128 } = createRequire(import.meta.url)('xxhash-addon') as NativeHashes
    const seed = new Uint8Array(8)
    return Object.assign(() => new XXHash128(seed), { once: (bytes: Uint8Array) => XXHash128.hash(bytes) })
  } catch {
    return undefined
  }
}
