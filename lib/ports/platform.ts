/** The digest algorithms of the protocol, by the name that options and records use. */
export type DigestName = 'md5' | 'sha256' | 'xxh128'

/** Tells the time. `now` never jumps or goes back; `wallTime` is for texts and for age limits. */
export interface Clock {
  /** Milliseconds since an arbitrary moment, monotonic. */
  now(): number
  /** Milliseconds since 1970, by the clock of the machine. */
  wallTime(): number
  /** Calls `run` once, when `now()` has reached `atMs` and never within this call. Disposing the alarm prevents the call. */
  alarm(atMs: number, run: () => void): Disposable
}

/** Generates random values. `reason` names the purpose in the trace of a simulated run. */
export interface Random {
  bytes(length: number, reason: string): Uint8Array
  /** 0 <= fraction < 1. */
  fraction(reason: string): number
}

/** A running digest. */
export interface Digest {
  update(bytes: Uint8Array): void
  /** Returns the digest of the bytes so far. More bytes may follow. */
  digest(): Uint8Array
}

/** Creates digests. An algorithm must be loaded before its first digest is created. */
export interface Digests {
  load(name: DigestName): Promise<void>
  create(name: DigestName): Digest
  /** Returns the digest of these bytes, or `undefined` if a running digest is not slower for this algorithm. */
  once?(name: DigestName, bytes: Uint8Array): Uint8Array | undefined
}

/** The synchronous services of the machine. */
export interface Platform {
  readonly clock: Clock
  readonly random: Random
  readonly digests: Digests
  /** Returns the CRC-32 (IEEE 802.3) of `bytes`, continued from `start` (default 0, the CRC of no bytes). */
  crc32(bytes: Uint8Array, start?: number): number
}
