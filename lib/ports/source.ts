/** Something that can be uploaded. */
export interface FileSource {
  /** The default name on the server. */
  readonly name: string
  /** Identifies the source for a restarted client. */
  readonly ref?: string
  /** Opens the source. Rejects with OspError `source-missing` or `source-unreadable`, with the source and the reason. */
  open(signal: AbortSignal): Promise<OpenSource>
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
