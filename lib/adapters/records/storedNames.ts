import { ancestorsOf, recordKey, recordsBelow, recordsOf, subjectOf } from './keys.ts'
import type { Shelf } from './shelf.ts'

/** What the transfer store must know about the published files, and about partial ones. */
export interface StoredNames {
  /** Names that differ only in case lead to the same file. */
  readonly foldsCase: boolean
  stored(user: string, name: string): Promise<boolean>
  /** The name of what is stored and leaves no room for a file of this name; a file of just this name does leave it. */
  conflict(user: string, name: string): Promise<string | undefined>
  /** Changes whenever the published file does; `undefined` if there is none. */
  stamp(user: string, name: string): Promise<string | undefined>
  /** Removes the partial file, if there is one. */
  dropPartial(user: string, name: string): Promise<void>
}

/** The name of a record that leaves no room for another one of this name. */
export async function conflictingRecord(
  shelf: Shelf,
  user: string,
  name: string,
  foldsCase: boolean,
): Promise<string | undefined> {
  if (foldsCase) return foldedConflict(shelf, user, name)
  for (const ancestor of ancestorsOf(name)) {
    if ((await shelf.get(recordKey(user, ancestor))) !== undefined) return ancestor
  }
  for await (const [key] of shelf.entries({ ...recordsBelow(user, name), limit: 1 })) return subjectOf(key).name
  return undefined
}

/** A form that names have in common which a store that folds case can't tell apart. */
function folded(name: string): string {
  // Both ways, since some letters meet only in the upper case and some only in the lower one.
  return name.toUpperCase().toLowerCase().normalize('NFC')
}

// The keys are ordered by the names as they are written, so here each record of the user is looked at.
async function foldedConflict(shelf: Shelf, user: string, name: string): Promise<string | undefined> {
  const wanted = folded(name)
  for await (const [key] of shelf.entries(recordsOf(user))) {
    const other = subjectOf(key).name
    if (other !== name && (overlaps(wanted, folded(other)) || overlaps(folded(other), wanted))) return other
  }
  return undefined
}

/** Whether a name is `folder`, or below it. */
export const overlaps = (folder: string, name: string): boolean => name === folder || name.startsWith(`${folder}/`)
