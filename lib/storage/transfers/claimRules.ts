import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { fileNameKey, partCount } from '../../names.ts'
import type {
  ClaimOptions,
  NewTransfer,
  OtherUploads,
  Owner,
  QuotaPart,
  StoredFile,
  TransferRecord,
} from '../../ports/storage.ts'
import { EarlierFiles } from '../../runtime/earlierFiles.ts'
import { fitsShare } from '../../runtime/share.ts'
import { endedClaimError } from './recordStore.ts'

/** Throws OspError `superseded` if a session that lost an upload to another one continues it. */
export function checkNotSuperseded(
  record: TransferRecord | undefined,
  { user, name }: NewTransfer,
  session: string,
  fresh: boolean,
): void {
  if (fresh || !record?.superseded.includes(session)) return
  throw new OspError('superseded', `another program of ${user} has taken over the upload of ${name}`)
}

/** Throws EarlierFiles if a claim would replace a verified upload, whose file may have been published. */
export function checkNotVerified(record: TransferRecord | undefined, want: NewTransfer, fresh: boolean): void {
  if (record?.verified && (fresh || !sameUpload(record, want))) throw new EarlierFiles({ unfinished: [record] })
}

/** Throws EarlierFiles if one of these uploads may have published a file under one of these names. */
export function checkNamesComplete(records: readonly TransferRecord[], names: readonly string[]): void {
  const unfinished = records.filter(({ verified }) => verified && names.includes(verified.storedName))
  if (unfinished.length > 0) throw new EarlierFiles({ unfinished })
}

/** Throws OspError `too-many-uploads` if no further record of a user can be stored. The user has `own` of `all` records. */
export function checkUploadCount(user: string, own: number, all: number): void {
  const { unfinishedPerUser, unfinishedUploads, unfinishedSharePercent } = fixed
  const fits = fitsShare({ most: unfinishedUploads, held: all }, own, 1, unfinishedSharePercent)
  if (own < unfinishedPerUser && fits) return
  const isShare = own < unfinishedPerUser && all < unfinishedUploads
  const whose = own < unfinishedPerUser && !isShare ? `there are ${all}` : `${user} has ${own}`
  const why = isShare ? `the maximum for one user while there are ${all} in all` : 'which is the maximum'
  const text = `${whose} unfinished uploads on the server, ${why}; finish or cancel some of them`
  throw new OspError('too-many-uploads', text)
}

/** Returns the error of a name that conflicts with another one. */
export const nameConflict = (name: string, other: string) =>
  new OspError('name-conflict', `${name} collides with ${other} on the server; choose another name`)

type FileOfUpload = Pick<NewTransfer, 'size' | 'algorithm'> & { readonly modifiedAt?: number | undefined }

/** Returns whether both are the same upload, given that user and name agree. */
export function sameUpload(a: FileOfUpload | undefined, b: NewTransfer): boolean {
  return a?.size === b.size && a.modifiedAt === b.modifiedAt && a.algorithm === b.algorithm
}

/** Returns whether a file with this digest is the result of an upload, given that user and name agree. */
export const isResultOf = (
  file: FileOfUpload & { readonly digest: string },
  want: NewTransfer,
  digest: string,
): boolean => file.digest === digest && sameUpload(file, want)

/** Returns the name under which an upload is to be stored. */
export const storeAsOf = ({ name, storeAs = name }: Pick<NewTransfer, 'name' | 'storeAs'>): string => storeAs

/** Returns the record that a claim continues, if there is one. */
export function continuedBy(
  { storeAs }: NewTransfer,
  { fresh }: ClaimOptions,
  same: TransferRecord | undefined,
): TransferRecord | undefined {
  if (fresh || !same) return undefined
  return same.storeAs === undefined && storeAs !== undefined ? { ...same, storeAs } : same
}

/** Returns the fields of a new record that follow from its upload. */
export function uploadOf({ user, name, size, modifiedAt, algorithm, metadata, storeAs }: NewTransfer): NewTransfer {
  const chosen = { ...(metadata && { metadata }), ...(storeAs !== undefined && { storeAs }) }
  return { user, name, size, modifiedAt, algorithm, ...chosen }
}

/**
 * Returns the sessions that a new record supersedes. A record that replaces an older one keeps its list. Otherwise a session that
 * lost the upload could take it back.
 */
export function supersededBy(owner: Owner, record: TransferRecord | undefined, takeOver: boolean): readonly string[] {
  if (!record) return []
  const former = takeOver ? [record.owner.session] : []
  const others = [...record.superseded, ...former].filter((session) => session !== owner.session)
  return [...new Set(others)].slice(-fixed.supersededSessions)
}

/** Returns one of these names of records that conflicts with a name. The same name does not conflict. */
export function conflictingName(names: Iterable<string>, name: string, foldsCase: boolean): string | undefined {
  const keyOf = foldsCase ? fileNameKey : (other: string) => other
  const wanted = keyOf(name)
  for (const other of names) {
    if (other !== name && (overlaps(wanted, keyOf(other)) || overlaps(keyOf(other), wanted))) return other
  }
  return undefined
}

/** Returns whether a name is `folder` or below it. */
export const overlaps = (folder: string, name: string): boolean => name === folder || name.startsWith(`${folder}/`)

/**
 * Throws OspError `superseded` if a recovery finds another record than the verified one of its upload, which has then begun anew or
 * was completed at another server, or if it finds neither a record nor the completed file.
 */
export function checkRecovery(
  want: NewTransfer,
  { recovery }: ClaimOptions,
  record: TransferRecord | undefined,
  completed: StoredFile | undefined,
): void {
  if (!recovery || (completed && !record)) return
  if (!record?.verified || !sameUpload(record, want)) throw endedClaimError(want)
}

/** Resolves with the part of the quota of its user that a claim reserves. Rejects if this does not fit. */
export async function reservedFor(
  want: NewTransfer,
  { reservation }: ClaimOptions,
  {
    isHeld,
    reserved,
    others,
  }: { readonly isHeld: boolean; readonly reserved: QuotaPart; readonly others: OtherUploads },
  continued: TransferRecord | undefined,
): Promise<QuotaPart> {
  if (!reservation) return continued ? reserved : { growth: want.size, entries: partCount(storeAsOf(want)) }
  const { growth, entries } = reservation
  const isReserved = continued !== undefined && isHeld && reserved.growth >= growth && reserved.entries >= entries
  if (!isReserved && !continued?.verified) await reservation.check(others)
  return { growth, entries }
}
