import type { Storage, TransferRecord, UnfinishedTotals, Usage } from '../../ports/storage.ts'

/** The last checkpoint of an upload: its leading bytes up to here are durable. */
export const durableOf = ({ checkpoints }: TransferRecord): number => checkpoints.at(-1)?.offset ?? 0

/** Returns one record. */
export async function recordOf(
  { transfers }: Pick<Storage, 'transfers'>,
  user: string,
  name: string,
): Promise<TransferRecord | undefined> {
  if (transfers.record) return transfers.record(user, name)
  for await (const record of transfers.records(user)) if (record.name === name) return record
  return undefined
}

/** Returns the totals of a user's unfinished uploads. */
export async function unfinishedOf({ transfers }: Storage, user: string): Promise<UnfinishedTotals> {
  if (transfers.unfinished) return transfers.unfinished(user)
  let [uploads, bytes] = [0, 0]
  for await (const record of transfers.records(user)) {
    uploads++
    bytes += durableOf(record)
  }
  return { uploads, bytes }
}

/** Returns the totals of a user's published files. */
export async function usageOf({ files }: Storage, user: string, recount: boolean): Promise<Usage> {
  if (files.usage) return files.usage(user, recount)
  return { bytes: await files.used(user), files: 0, folders: 0 }
}
