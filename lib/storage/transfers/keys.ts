/** Returns one text for a user and a name. Neither can contain a NUL. */
export const recordKey = (user: string, name: string): string => `${user}\0${name}`

/** Returns the user and the name of a key. */
export function subjectOf(key: string): { user: string; name: string } {
  const [user = '', name = ''] = key.split('\0')
  return { user, name }
}

/** The names that are folders of `name`: `a` and `a/b` for `a/b/c`. */
export function ancestorsOf(name: string): string[] {
  const parts = name.split('/')
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'))
}
