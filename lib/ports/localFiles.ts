import type { FileSource, Spooled } from './source.ts'
import type { FileTarget } from './target.ts'

/** Access to the files of this machine. */
export interface LocalFiles {
  /** Resolves with the file at a path or a `file:` URL. Its name is by default the last part of the path. */
  source(path: string | URL, name?: string): Promise<FileSource>
  /** Resolves with the place of a download. */
  target(path: string | URL, options: { readonly overwrite: boolean }): Promise<FileTarget>
  /** Stores the content of a stream for as long as this process runs. Rejects as `ClientState.spool`. */
  spool(stream: AsyncIterable<Uint8Array>, name: string): Promise<Spooled>
}
