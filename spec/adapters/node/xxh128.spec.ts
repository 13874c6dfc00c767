import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import fc from 'fast-check'
import { loadWasmXxh128 } from '../../../lib/adapters/node/wasmXxh128.ts'
import { loadXxh128, nativeXxh128 } from '../../../lib/adapters/node/xxh128.ts'
import { KiB, MiB } from '../../../lib/limits.ts'
import type { Digest } from '../../../lib/ports/platform.ts'
import { cut } from '../../support/bytes.ts'
import { type It, spec } from '../../support/spec.ts'

/** Of the bytes 0, 1, ... 255, 0, 1, ..., by the reference implementation. */
const vectors: readonly (readonly [length: number, digest: string])[] = [
  [0, '99aa06d3014798d86001c324468d497f'],
  [1, 'a6cd5e9392000f6ac44bdff4074eecdb'],
  [3, 'e3b55f57945a17cf5f4299fc161c9cbb'],
  [16, '72950631827607e2842812cc870dcae2'],
  [128, '14792fc3af88dc6c05321a0b64d67b41'],
  [240, '65b5be86da5540e7c92b68e16f83bbb6'],
  [241, '1da1cb61bcb8a2a102e8cd95421c6d02'],
  [256, 'f1f8a93f50849ac39408a4433b952d71'],
  [KiB, '83885e853bb6640ca870f92984398d22'],
  [MiB + 1, '0bdf0758c75071fd2455dbdc10d8bf5e'],
]

/** Around those at which the algorithm changes, and around its blocks. */
const lengths = [0, 1, 4, 8, 9, 16, 17, 64, 128, 129, 239, 240, 241, 255, 256, 257, 511, 512, 513, KiB, KiB + 1]
const longLengths = [64 * KiB - 1, 64 * KiB, 256 * KiB + 1, MiB - 1, MiB, MiB + 1]

const counted = Uint8Array.from({ length: MiB + 1 }, (_, at) => at)
const file = Uint8Array.from({ length: MiB + 64 }, (_, at) => Math.imul(at, 0x9e3779b1) >>> 24)
const native = nativeXxh128()
const wasm = await loadWasmXxh128()

function digestOf(create: () => Digest, pieces: readonly Uint8Array[]): string {
  const digest = create()
  for (const piece of pieces) digest.update(piece)
  return Buffer.from(digest.digest()).toString('hex')
}

function hasKnownValues(it: It, create: () => Digest): void {
  it('has the values of the reference implementation', () => {
    for (const [length, digest] of vectors) {
      assert.equal(digestOf(create, [counted.subarray(0, length)]), digest, `${length} bytes`)
    }
  })

  it('can be continued after its value was asked for', () => {
    const digest = create()
    for (const [at, [length, expected]] of vectors.entries()) {
      digest.update(counted.subarray(vectors[at - 1]?.[0] ?? 0, length))
      assert.equal(Buffer.from(digest.digest()).toString('hex'), expected, `${length} bytes`)
    }
  })
}

spec('XXH128 in WebAssembly', (it) => hasKnownValues(it, wasm))

spec('XXH128 in native code', (it) => {
  const optional = 'the optional package xxhash-addon is not installed, or has no binary for this machine'
  if (!native) return it.skip('has the values of the reference implementation', optional)
  hasKnownValues(it, native)

  it('is that in WebAssembly for every length, and for views of every alignment', () => {
    for (const length of [...lengths, ...longLengths]) {
      for (const from of [0, 1, 7, 8, 31, 63]) {
        const piece = file.subarray(from, from + length)
        const alone = Uint8Array.from(piece)
        const expected = digestOf(wasm, [piece])
        for (const bytes of [piece, alone, Buffer.from(piece.buffer, piece.byteOffset, length)]) {
          assert.equal(digestOf(native, [bytes]), expected, `${length} bytes from ${from}`)
          const atOnce = Buffer.from(native.once?.(bytes) ?? []).toString('hex')
          assert.equal(atOnce, expected, `${length} bytes from ${from} at once`)
        }
      }
    }
  })

  it('is that in WebAssembly for every pair of pieces', () => {
    for (const first of [...lengths, ...longLengths]) {
      for (const second of lengths) {
        const pieces = [file.subarray(0, first), file.subarray(first, first + second)]
        assert.equal(
          digestOf(native, pieces),
          digestOf(wasm, [file.subarray(0, first + second)]),
          `${first}, ${second}`,
        )
      }
    }
  })

  it('is that in WebAssembly however the bytes are cut', () => {
    const pieces = fc.array(fc.oneof(fc.nat(600), fc.nat(100_000)), { minLength: 1, maxLength: 20 })
    const property = fc.property(fc.nat(file.length), pieces, (length, cuts) => {
      const bytes = file.subarray(0, length)
      assert.equal(digestOf(native, cut(bytes, cuts)), digestOf(wasm, [bytes]))
    })
    fc.assert(property, { numRuns: 100 })
  })

  it('is replaced by WebAssembly if the package has no binary for this machine', async () => {
    const require = createRequire(import.meta.url)
    const path = require.resolve('xxhash-addon')
    const loaded = require.cache[path]
    delete require.cache[path]
    process.env.XXHASH_ADDON_PREBUILD = '/nonexistent'
    try {
      assert.equal(nativeXxh128(), undefined)
      assert.equal(digestOf(await loadXxh128(), [counted]), vectors.at(-1)?.[1])
    } finally {
      delete process.env.XXHASH_ADDON_PREBUILD
      require.cache[path] = loaded
    }
  })

  it('is separate for each digest', () => {
    const digests = [1, 2, 3].map((fill) => ({ fill, own: native(), other: wasm() }))
    for (const length of [1, 300, 20_000, 5]) {
      for (const { fill, own, other } of digests) {
        own.update(new Uint8Array(length).fill(fill))
        other.update(new Uint8Array(length).fill(fill))
        assert.deepEqual(Uint8Array.from(own.digest()), Uint8Array.from(other.digest()))
      }
    }
  })
})
