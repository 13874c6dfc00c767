import type { ChangedFile } from '../../storage/catalogue/storedTree.ts'

/**
 * Changes of published files that any server can prevent. A frozen server can resume at any time, and nothing can keep it from
 * calling rename(2), but the call fails if a directory in one of its two paths is gone. Therefore a file is removed or renamed
 * through a directory of its own, the fence of the change: once any server has removed the fence, the change has no further
 * effect.
 */
export interface Fences {
  add(fence: string): Promise<void>
  /** Resolves with all fences. */
  list(): Promise<readonly string[]>
  /** Removes a fence, if it exists. */
  remove(fence: string): Promise<void>
  /**
   * Removes a published file, if it has this version: durable. Resolves with false, without a change, if the file has another
   * version or is missing, or if the fence was removed.
   */
  unlink(file: ChangedFile, fence: string): Promise<boolean>
  /**
   * Adds another name to a published file, if it has this version: durable. Resolves with false as `unlink` does. Rejects with
   * `file-exists` if a file has the new name and `replace` is not set, and with `name-conflict`.
   */
  link(file: ChangedFile, newName: string, replace: boolean, fence: string): Promise<boolean>
}
