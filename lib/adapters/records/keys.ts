import type { KeyRange } from './shelf.ts'

// NUL can't be in a user or file name, so it parts the two, and no key is the beginning of another kind's.

/** Where the record of an upload is kept. */
export const recordKey = (user: string, name: string): string => `transfer\0${user}\0${name}`
/** Where the note of a completed upload is kept. */
export const noteKey = (user: string, name: string): string => `note\0${user}\0${name}`
/** An empty entry for each note, in the order in which the notes run out. */
export const expiryKey = (until: number, user: string, name: string): string =>
  `expiry\0${String(Math.max(0, Math.trunc(until))).padStart(16, '0')}\0${user}\0${name}`

/** All records. */
export const allRecords: KeyRange = { from: 'transfer\0', below: 'transfer\x01' }
/** The records of a user. */
export const recordsOf = (user: string): KeyRange => ({ from: `transfer\0${user}\0`, below: `transfer\0${user}\x01` })
/** The records of names that have `name` as a folder. */
export const recordsBelow = (user: string, name: string): KeyRange => ({
  from: recordKey(user, `${name}/`),
  below: recordKey(user, `${name}0`),
})
/** The expiries before `wallTime`, at most `limit`. */
export const expiriesBefore = (wallTime: number, limit: number): KeyRange => ({
  from: 'expiry\0',
  below: expiryKey(wallTime, '', ''),
  limit,
})

/** The user and the name that stand last in a key. */
export function subjectOf(key: string): { user: string; name: string } {
  const [user = '', name = ''] = key.split('\0').slice(-2)
  return { user, name }
}

/** The names that are folders of `name`: `a` and `a/b` for `a/b/c`. */
export function ancestorsOf(name: string): string[] {
  const parts = name.split('/')
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'))
}
