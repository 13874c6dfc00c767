import type { Parts } from '../wire/codec.ts'
import type { DigestName, Digests } from './platform.ts'

/** A place for the content of a stored file. */
export interface FileTarget {
  /**
   * Prepares to receive this content. Resolves with `undefined` if the target already has exactly this content. Rejects with
   * OspError `target-exists` if it must not be replaced, or `target-unwritable`, with the target and the reason.
   */
  open(content: TargetContent, digests: Digests): Promise<OpenTarget | undefined>
}

/** The content of a stored file. Two contents are the same if size, algorithm and digest agree. */
export interface TargetContent {
  /** The name on the server. */
  readonly name: string
  /** Bytes. */
  readonly size: number
  readonly algorithm: DigestName
  /** Hexadecimal. */
  readonly digest: string
  /** Milliseconds since 1970. */
  readonly modifiedAt: number
}

/** An open target. Its disposal keeps what was written, so that the next `open` with the same content continues from there. */
export interface OpenTarget extends AsyncDisposable {
  /** The leading bytes of this content that an interrupted download has written. Their digest is computed again. */
  readonly keptBytes: number
  /** Writes bytes at `offset`, which is the end of the bytes written before. */
  write(bytes: Parts, offset: number): Promise<void>
  /** Reads written bytes at `offset` into `into`. Resolves with the number of bytes. */
  read(into: Uint8Array, offset: number): Promise<number>
  /** Makes the content visible at its place: complete, durable and with its modification time. Called after its digest was verified. */
  commit(): Promise<void>
  /** Removes what was written. */
  discard(): Promise<void>
}
