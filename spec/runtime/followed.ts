import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { Checkpoint } from '../../lib/ports/storage.ts'
import { type Deferred, deferred } from '../../lib/runtime/deferred.ts'
import { IncrementalDigest } from '../../lib/runtime/incrementalDigest.ts'

export const { digests } = nodePlatform()
export const algorithm = 'sha256'

export function digestOf(bytes: Uint8Array): Uint8Array {
  const digest = digests.create(algorithm)
  digest.update(bytes)
  return digest.digest()
}

export const bytesOf = (length: number, seed = 0) => Uint8Array.from({ length }, (_, at) => (at * 7 + seed) & 0xff)
export const markAt = (file: Uint8Array, offset: number): Checkpoint => ({
  offset,
  digest: digestOf(file.subarray(0, offset)),
})
const turn = () => new Promise((go) => setImmediate(go))

/** A file whose reads end when the spec says so. */
export class SlowFile {
  bytes: Uint8Array
  readonly waiting: Deferred<void>[] = []
  reads = 0

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  read = async (into: Uint8Array, offset: number): Promise<number> => {
    this.reads++
    const gate = deferred<void>()
    this.waiting.push(gate)
    await gate.promise
    const piece = this.bytes.subarray(offset, offset + into.length)
    into.set(piece)
    return piece.length
  }

  async go(): Promise<void> {
    this.waiting.shift()?.resolve()
    await turn()
  }
}

/** A digest of a file whose reads end at once. */
export function following(file: Uint8Array, marks: readonly Checkpoint[] = []): IncrementalDigest {
  const read = async (into: Uint8Array, offset: number) => {
    const piece = file.subarray(offset, offset + into.length)
    into.set(piece)
    return piece.length
  }
  return new IncrementalDigest({ digests, algorithm, read, checkpoints: marks })
}
