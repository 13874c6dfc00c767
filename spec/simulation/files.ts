import type { Metadata } from '../../lib/ports/catalogue.ts'
import type { DigestName } from '../../lib/ports/platform.ts'
import type { FileSource, TakeMemory, WholeContent } from '../../lib/ports/source.ts'
import type { SeededRandom } from '../support/random.ts'
import type { SimulatedProcess } from './process.ts'
import { SimulatedHook } from './uploadHook.ts'

/** A version of a file. */
export interface Version {
  readonly bytes: Uint8Array
  readonly modifiedAt: number
  /** Equal for a version that has returned. */
  readonly identity: number
}

/** A file of a user, which each of the user's clients can send, and which can be written to in the meantime. */
export class SimulatedFile {
  readonly user: string
  readonly name: string
  readonly algorithm: DigestName
  /** The metadata that programs send with it, apart from their own names. Set if they send any. */
  metadata: Metadata | undefined
  /** Whether programs ask for receipts of the messages about it. */
  asksReceipts = false
  /** Whether programs iterate over these receipts, instead of waiting until it is handled. */
  iteratesReceipts = false
  /** The users to whom programs send it. */
  to: readonly string[] = []
  /** The decisions of the server about its uploads. */
  hook = new SimulatedHook()
  /** The versions, current one last. */
  readonly versions: Version[] = []

  constructor(user: string, name: string, algorithm: DigestName, bytes: Uint8Array) {
    this.user = user
    this.name = name
    this.algorithm = algorithm
    this.write(bytes)
  }

  /** Identifies it among the files of all users: each user has files with the same names. */
  get path(): string {
    return `${this.user}/${this.name}`
  }

  /** The name under which the server stores it. */
  get storedName(): string {
    return this.hook.storedNameOf(this.name)
  }

  get storedPath(): string {
    return `${this.user}/${this.storedName}`
  }

  get now(): Version {
    const version = this.versions.at(-1)
    if (!version) throw new RangeError(`${this.name} has no version`)
    return version
  }

  /** The identities of versions for which a client has been given the digest of an earlier one. */
  readonly misremembered = new Set<number>()

  /**
   * Whether a client may have sent another digest for a version with these bytes, whereupon the server receives the stored file again:
   * a remembered digest was stale, or another version has the same size and the same modification time.
   */
  isAmbiguous(bytes: Uint8Array): boolean {
    return this.versions.some((version) => {
      const isUnclear = () => this.versions.some((other) => isLike(other, version))
      return sameBytes(version.bytes, bytes) && (this.misremembered.has(version.identity) || isUnclear())
    })
  }

  /** `isHidden`: the program resets the modification time. */
  write(bytes: Uint8Array, isHidden = false): void {
    const modifiedAt = isHidden ? this.now.modifiedAt : this.versions.length + 1
    this.versions.push({ bytes, modifiedAt, identity: this.versions.length })
  }

  /** An earlier version takes the place of the file, as if it had been renamed. */
  restore(version: Version): void {
    this.versions.push({ ...version })
  }

  /** The file as a process reads it. */
  sourceFor(process: SimulatedProcess): FileSource {
    return {
      name: this.name,
      ref: this.name,
      open: async () => {
        const opened = await process.effect(2, 'time to open a source', () => this.now)
        const { bytes, modifiedAt } = opened
        return {
          size: bytes.length,
          modifiedAt,
          identity: `${this.name} ${opened.identity}`,
          read: (into, offset) =>
            process.effect(2, 'time to read a source', () => {
              const piece = this.now.bytes.subarray(offset, offset + into.length)
              into.set(piece)
              return piece.length
            }),
          unchanged: () => process.effect(2, 'time to look at a source', () => this.now === opened),
          [Symbol.asyncDispose]: async () => {},
        }
      },
      readWhole: (maxBytes, take) =>
        this.isReadAtOnce ? this.#read(maxBytes) : this.#readLater(process, maxBytes, take),
    }
  }

  /** Whether the file is read without waiting, as on a local file system. Such files share requests. */
  get isReadAtOnce(): boolean {
    return this.now.bytes.length % 2 === 0
  }

  #read(maxBytes: number): WholeContent | undefined {
    const { bytes, modifiedAt } = this.now
    return sentWhole(bytes, maxBytes) ? { content: bytes, modifiedAt } : undefined
  }

  async #readLater(process: SimulatedProcess, maxBytes: number, take: TakeMemory): Promise<WholeContent | undefined> {
    const version = await process.effect(2, 'time to look at a source', () => this.now)
    const { bytes, modifiedAt } = version
    if (!sentWhole(bytes, maxBytes)) return undefined
    const memory = await take(bytes.length)
    const isSame = await process.effect(2, 'time to read a source', () => this.now === version)
    memory.set(bytes)
    return isSame ? { content: memory.subarray(0, bytes.length), modifiedAt } : undefined
  }
}

/** Returns whether a server cannot distinguish two different versions without their digests. */
function isLike(a: Version, b: Version): boolean {
  return a.identity !== b.identity && a.modifiedAt === b.modifiedAt && a.bytes.length === b.bytes.length
}

/** Generates the bytes of a file: mostly few, sometimes exactly one chunk, one byte more, or several chunks. */
export function generateBytes(random: SeededRandom, chunkBytes: number): Uint8Array {
  const lengths = [
    0,
    1,
    chunkBytes - 1,
    chunkBytes,
    chunkBytes + 1,
    chunkBytes * random.integer(2, 12, 'chunks of a file'),
    random.integer(2, 12 * chunkBytes, 'length of a file'),
  ]
  const bytes = new Uint8Array(random.pick(lengths, 'kind of a file'))
  let state = random.integer(1, 0x7fffffff, 'content of a file')
  for (let at = 0; at < bytes.length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    bytes[at] = state >>> 24
  }
  return bytes
}

/** Returns whether a file is sent in one request, which can have up to `maxBytes` bytes. A file of odd length is sent in chunks. */
export function sentWhole({ length }: Uint8Array, maxBytes: number): boolean {
  return length <= maxBytes && length % 2 === 0
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at])
}
