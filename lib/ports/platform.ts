/** The digest algorithms of the protocol, by the name that options and records use. */
export type DigestName = 'md5' | 'sha256' | 'xxh128'

/** Time. `now` never jumps or goes back; `wallTime` is for what people read and for age limits. */
export interface Clock {
  /** Milliseconds since an arbitrary moment, monotonic. */
  now(): number
  /** Milliseconds since 1970, as the machine believes. */
  wallTime(): number
  /** Runs `run` once, not before `now()` is `atMs` and never within this call; disposing it prevents that. */
  alarm(atMs: number, run: () => void): Disposable
}

/** Randomness; `reason` says what for, so that a simulated run can be read and repeated. */
export interface Random {
  bytes(length: number, reason: string): Uint8Array
  /** 0 <= fraction < 1. */
  fraction(reason: string): number
}

/** A running digest. */
export interface Digest {
  update(bytes: Uint8Array): void
  /** An independent digest of what this one has seen so far. */
  copy(): Digest
  /** The digest of everything seen; afterwards this object may not be used any more. */
  digest(): Uint8Array
}

/** Makes digests; an algorithm must be loaded once before the first one is created. */
export interface Digests {
  load(name: DigestName): Promise<void>
  create(name: DigestName): Digest
}

/** What the machine under us gives, synchronous by nature. */
export interface Platform {
  readonly clock: Clock
  readonly random: Random
  readonly digests: Digests
  /** CRC-32 (IEEE 802.3) of `bytes`, continuing `start` (default 0, of no bytes). */
  crc32(bytes: Uint8Array, start?: number): number
}
