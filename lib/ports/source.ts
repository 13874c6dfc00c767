/** Something that can be uploaded. */
export interface FileSource {
  /** The default name on the server. */
  readonly name: string
  /** Identifies the source for a restarted client. */
  readonly ref?: string
  /** Opens the source. Rejects with OspError `source-missing` or `source-unreadable`, with the source and the reason. */
  open(signal: AbortSignal): Promise<OpenSource>
  /**
   * Reads the whole source, which is faster for a small one than opening it. `take` returns memory for this number of bytes, in which
   * the content then is; it is called at most once. Resolves with `undefined` if the source has more than `maxBytes` bytes, was modified
   * meanwhile, or cannot be read. The caller then opens it.
   */
  readWhole?(maxBytes: number, take: TakeMemory): Promise<WholeContent | undefined>
}

/** Returns memory for at least this number of bytes, or a promise of it. */
export type TakeMemory = (bytes: number) => Uint8Array | Promise<Uint8Array>

/** The content of a source that was read at once. */
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
  /** Reads up to `into.length` bytes at `offset`; fewer only at the end. Resolves with the number of bytes. */
  read(into: Uint8Array, offset: number): Promise<number>
  /** Resolves with whether the source is unchanged since it was opened. */
  unchanged(): Promise<boolean>
}
