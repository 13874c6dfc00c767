/** Something that can be uploaded. */
export interface FileSource {
  /** The name that it gets on the server unless another one is chosen. */
  readonly name: string
  /** How a restarted client finds it again. */
  readonly ref?: string
  /** Rejects with OspError `source-missing` or `source-unreadable`, saying which and why. */
  open(signal: AbortSignal): Promise<OpenSource>
}

/** An opened source: `size` and `modifiedAt` are what they were when it was opened. */
export interface OpenSource extends AsyncDisposable {
  /** Bytes. */
  readonly size: number
  /** Milliseconds since 1970, whole. */
  readonly modifiedAt: number
  /** Reads up to `into.length` bytes from `offset` on; fewer only at the end. Resolves with how many. */
  read(into: Uint8Array, offset: number): Promise<number>
  /** Whether it is still what it was when it was opened. */
  unchanged(): Promise<boolean>
}
