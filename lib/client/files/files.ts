import type { FileTarget } from '../../ports/target.ts'
import type { Download } from './download.ts'
import type { FileInfo, FileReference } from './fileRequests.ts'

export interface ListFilesOptions {
  /** Only files whose names begin with this text; by default all. */
  readonly prefix?: string | undefined
  readonly signal?: AbortSignal | undefined
}

export interface StatFileOptions {
  /** Whether the server computes the digest if it does not know it, which takes as long as reading the file. */
  readonly digest?: boolean | undefined
  readonly signal?: AbortSignal | undefined
}

export interface RemoveFileOptions {
  /** Only this version; by default any. */
  readonly version?: string | undefined
  readonly signal?: AbortSignal | undefined
}

export interface RenameFileOptions extends RemoveFileOptions {
  /** Whether a file that has the new name is replaced. */
  readonly replace?: boolean | undefined
}

export interface DownloadOptions {
  /** The path or the `file:` URL of the file to write, or another target. Without it, iterate over the download. */
  readonly to?: string | URL | FileTarget | undefined
  /** Whether an existing file at the path `to` is replaced if its content differs. */
  readonly overwrite?: boolean | undefined
  /** Without `to`: the offset of the first byte to hand over, 0 by default. The digest is verified only if it is 0. */
  readonly offset?: number | undefined
  /** Only this version. By default a file that is replaced meanwhile is downloaded again from the start, up to three times. */
  readonly version?: string | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * The stored files of the user. Requests are repeated after a lost link, and after refusals that are not final, for `retryForMs`.
 * All methods reject with OspError `bad-name` or `usage` for invalid arguments, `unsupported-version` if the server is too old,
 * `closed` when their signal aborts, and with the final refusal of the server.
 */
export interface Files {
  /** Iterates over the files in the order of the UTF-8 bytes of their names, page by page. */
  list(options?: ListFilesOptions): AsyncIterableIterator<FileInfo>
  /** Resolves with one file. Rejects with OspError `no-such-file`. */
  stat(name: string, options?: StatFileOptions): Promise<FileInfo>
  /**
   * Removes a file: durable when it resolves. Resolves with false if there was none, which can also mean that the reply to an
   * earlier attempt was lost. Rejects with OspError `version-changed`.
   */
  remove(name: string, options?: RemoveFileOptions): Promise<boolean>
  /**
   * Gives a file another name: atomic, and durable when it resolves. Resolves with whether it has replaced a file. Rejects with
   * OspError `no-such-file`, `version-changed`, `file-exists`, or `name-conflict` if the new name is that of a folder, or is
   * below a file. Without `version`, first asks for the version of the file, so that the request can be repeated after a lost
   * link.
   */
  rename(name: string, newName: string, options?: RenameFileOptions): Promise<boolean>
  /**
   * Downloads a file, given by its name, by the result of `list` or `stat`, which saves a request, or by the reference in a message
   * (`Message.file`). With `to`, begins at once; a
   * limited number of such downloads run at the same time. Throws OspError `usage` or `bad-name`.
   *
   * The content for a path is written to `PATH.part`, with a record beside it. A later call for the same path continues an
   * interrupted download if size and digest of the stored file are the same. The verified file is flushed, gets the modification
   * time of the stored file, and is moved into place. If the path already has a file with the same content, nothing is
   * transferred. `download.done` rejects with OspError `target-exists`, `target-unwritable`, `no-such-file`, `gone`, `version-changed`
   * or `digest-mismatch`.
   */
  download(file: string | FileInfo | FileReference, options?: DownloadOptions): Download
}
