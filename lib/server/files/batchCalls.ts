import type { SessionLink } from '../../ports/links.ts'
import type { Announcement, FileStore, QuotaRoom, TransferStore, UnnamedFiles } from '../../ports/storage.ts'
import { EarlierFiles } from '../../runtime/earlierFiles.ts'
import { settleAll } from '../../runtime/settled.ts'

/*
 * Calls the optional batch methods of a storage, or the single-file methods if it lacks them.
 */

/** Does what `FileStore.createAll` does. */
export async function createAll(
  files: FileStore,
  user: string,
  contents: readonly (readonly Uint8Array[])[],
  modifiedAt: readonly number[],
): Promise<UnnamedFiles> {
  if (files.createAll) return files.createAll(user, contents, modifiedAt)
  const created = await settleAll(contents, (content, at) => files.create(user, content, modifiedAt[at]))
  return {
    versions: created.map((file) => (file instanceof Error ? file : file.version)),
    sources: created.map((file) => (file instanceof Error ? undefined : file.source)),
    publish: async (places, replace) =>
      settleAll(places, async ({ index, storedName }) => {
        const file = created[index]
        if (!file || file instanceof Error) throw file ?? new Error(`file ${index} does not exist`)
        return file.publish(storedName, replace)
      }),
    async [Symbol.asyncDispose]() {
      for (const file of created) if (!(file instanceof Error)) await file[Symbol.asyncDispose]()
    },
  }
}

/** Does what `TransferStore.announceAll` does. */
export async function announceAll(
  transfers: TransferStore,
  files: readonly Announcement[],
  keepNoteMs: number,
  by: SessionLink,
  room: QuotaRoom | undefined,
): Promise<readonly (Error | undefined)[]> {
  if (transfers.announceAll) return transfers.announceAll(files, keepNoteMs, by, room)
  const results = await settleAll(files, async (file) => {
    await transfers.announce(file, keepNoteMs, by)
    return undefined
  })
  const earlier = results.find((result) => result instanceof EarlierFiles)
  if (earlier) throw earlier
  return results
}

/** Does what `FileStore.storedAll` does. */
export async function storedAll(
  files: FileStore,
  user: string,
  names: readonly string[],
): Promise<readonly (boolean | Error)[]> {
  return files.storedAll ? files.storedAll(user, names) : settleAll(names, (name) => files.stored(user, name))
}
