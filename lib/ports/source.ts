/** Something that can be uploaded. */
export interface FileSource {
  /** The default name on the server. */
  readonly name: string
  /** Identifies the source for a restarted client. */
  readonly ref?: string
  /** Opens the source. Rejects with OspError `source-missing` or `source-unreadable`, with the source and the reason. */
  open(signal: AbortSignal): Promise<OpenSource>
  /**
   * Reads the whole source in one call, which is faster than `open` for a small source. Calls `take` at most once for the memory
   * that will hold the content, unless it has the memory. Returns, or resolves with, `undefined` if the source is longer than
   * `maxBytes` or changes while it is read; may throw or reject if it cannot be read. In both cases the caller falls back to `open`.
   */
  readWhole?(maxBytes: number, take: TakeMemory): WholeContent | undefined | Promise<WholeContent | undefined>
}

/** The stored content of a stream, which can be read repeatedly. */
export interface Spooled {
  readonly source: FileSource
  /** The size in bytes. */
  readonly size: number
  /** Removes the content. */
  discard(): Promise<void>
}

/** Returns memory for at least this number of bytes, or a promise of it. */
export type TakeMemory = (bytes: number) => Uint8Array | Promise<Uint8Array>

/** The content of a source that was read in one call. */
export interface WholeContent {
  readonly content: Uint8Array
  /** Milliseconds since 1970, whole. */
  readonly modifiedAt: number
}

/** An open source, with its size and modification time when it was opened. */
export interface OpenSource extends AsyncDisposable {
  /** Bytes. */
  readonly size: number
  /** Milliseconds since 1970, whole. */
  readonly modifiedAt: number
  /**
   * Identifies the content: any later change of the source also changes the identity. If the source has no identity, the digest of
   * its content is not remembered.
   */
  readonly identity?: string | undefined
  /** Reads up to `into.length` bytes at `offset`; fewer only at the end. Resolves with the number of bytes. */
  read(into: Uint8Array, offset: number): Promise<number>
  /** Resolves with whether the source is unchanged since it was opened. */
  unchanged(): Promise<boolean>
}
