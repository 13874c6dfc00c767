import { createHash, type Hash, hash } from 'node:crypto'
import { OspError } from '../../errors.ts'
import type { Digest, DigestName, Digests } from '../../ports/platform.ts'
import type { DigestMaker } from './xxh128.ts'

/** Resolves with a function that creates digests. Rejects with OspError `unsupported-digest` if Node does not support it. */
async function makerOf(name: DigestName): Promise<DigestMaker> {
  try {
    if (name === 'xxh128') {
      // A bundle of a client is half as large without it.
      const { loadXxh128 } = await import('./xxh128.ts')
      return await loadXxh128()
    }
    createHash(name)
    return Object.assign(() => new NodeDigest(name), { once: (bytes: Uint8Array) => hash(name, bytes, 'buffer') })
  } catch (cause) {
    throw new OspError('unsupported-digest', `this version of Node does not support ${name} digests`, { cause })
  }
}

class NodeDigest implements Digest {
  readonly #hash: Hash

  constructor(name: DigestName) {
    this.#hash = createHash(name)
  }

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes)
  }

  digest(): Uint8Array {
    return this.#hash.copy().digest()
  }
}

/** Provides MD5 and SHA-256 from node:crypto, and XXH128 from the package xxhash-addon, or else from hash-wasm. */
export function nodeDigests(): Digests {
  const loaded = new Map<DigestName, DigestMaker>()
  return {
    async load(name) {
      if (loaded.has(name)) return
      const make = await makerOf(name)
      // Another call may have loaded it meanwhile.
      loaded.set(name, loaded.get(name) ?? make)
    },
    create(name) {
      const make = loaded.get(name)
      if (!make) throw new Error(`the digest ${name} must be loaded before one is created`)
      return make()
    },
    once: (name, bytes) => loaded.get(name)?.once?.(bytes),
  }
}
