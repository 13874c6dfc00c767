import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import type { ClaimOptions, NewTransfer, Owner, StoredFile, TransferRecord } from '../../ports/storage.ts'

/** The facts about a name that decide a claim. Later functions are called only if the earlier facts do not decide. */
export interface ClaimFacts {
  readonly record: TransferRecord | undefined
  /**
   * Resolves with the file of a completion marker of the same upload, if the marker is valid and the file unchanged.
   */
  completed(): Promise<StoredFile | undefined>
  stored(): Promise<boolean>
  /** Resolves with the name of another file or record that conflicts with this name. */
  conflict(): Promise<string | undefined>
  /** Returns the error if no further record can be stored. */
  full(): OspError | undefined
  /** Resolves with the bytes of the upload that exist without a record. */
  partialBytes(): Promise<number>
}

export type ClaimDecision =
  | { readonly completed: StoredFile }
  /** `anew` means that the upload begins at zero and replaces an older record. */
  | { readonly record: TransferRecord; readonly anew: boolean }

/** The rules of `TransferStore.claim`, in its order. `stamp` has the token and the time of a granted record. */
export async function decideClaim(
  want: NewTransfer,
  owner: Owner,
  options: ClaimOptions,
  facts: ClaimFacts,
  stamp: { readonly token: number; readonly updatedAt: number },
): Promise<ClaimDecision> {
  const { record } = facts
  const same = record !== undefined && sameUpload(record, want)
  if (!options.fresh && record?.superseded.includes(owner.session)) {
    throw new OspError('superseded', `another program of ${want.user} has taken over the upload of ${want.name}`)
  }
  if (options.fresh || !same) {
    const completed = await facts.completed()
    if (completed) return { completed }
  }
  await checkName(want.name, !same && options.onConflict === 'reject', facts)
  const superseded = supersededBy(owner, record, options.takeOver)
  if (same && !options.fresh) return { record: { ...record, ...stamp, owner, superseded }, anew: false }
  const { user, name, size, modifiedAt, algorithm } = want
  const left = options.fresh || record ? 0 : await facts.partialBytes()
  const checkpoints = left > 0 ? [{ offset: left, digest: new Uint8Array() }] : []
  return {
    record: { user, name, size, modifiedAt, algorithm, owner, superseded, checkpoints, ...stamp },
    anew: left === 0,
  }
}

/** Throws an OspError if the name cannot be claimed. `isNew` means that no file of this name may be stored. */
async function checkName(name: string, isNew: boolean, facts: ClaimFacts): Promise<void> {
  if (isNew && (await facts.stored())) {
    throw new OspError('file-exists', `${name} is already on the server; send it under another name`)
  }
  const conflict = await facts.conflict()
  if (conflict !== undefined) {
    throw new OspError('name-conflict', `${name} collides with ${conflict} on the server; choose another name`)
  }
  const full = facts.record ? undefined : facts.full()
  if (full) throw full
}

/** Returns whether both are the same upload, given that user and name agree. */
export function sameUpload(a: Omit<NewTransfer, 'user' | 'name'>, b: Omit<NewTransfer, 'user' | 'name'>): boolean {
  return a.size === b.size && a.modifiedAt === b.modifiedAt && a.algorithm === b.algorithm
}

// A record that replaces an older one keeps its list. Otherwise a session that lost the upload could take it back.
function supersededBy(owner: Owner, record: TransferRecord | undefined, takeOver: boolean): readonly string[] {
  if (!record) return []
  const former = takeOver ? [record.owner.session] : []
  const others = [...record.superseded, ...former].filter((session) => session !== owner.session)
  return [...new Set(others)].slice(-fixed.supersededSessions)
}
