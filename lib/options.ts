import { OspError } from './errors.ts'

/** The valid values of an option or an argument. */
export interface Kind {
  /** The valid values, to follow "must be". */
  readonly takes: string
  holds(value: unknown): boolean
  /** The option may be absent or `undefined`. */
  readonly optional?: true
  /** Returns advice about an invalid value, if there is any. */
  readonly advice?: (value: unknown) => string | undefined
}

/** The options of a function, by name. */
export type Options = Readonly<Record<string, Kind>>

/** Makes a kind optional. */
export const optional = (kind: Kind): Kind => ({ ...kind, optional: true })

const isText = (value: unknown): value is string => typeof value === 'string'

const hasMethods = (value: unknown, methods: readonly string[]) =>
  methods.every((name) => typeof (value as Record<string, unknown> | null | undefined)?.[name] === 'function')

/** Returns the kind of objects with these methods. */
export const having = (takes: string, ...methods: readonly string[]): Kind => ({
  takes,
  holds: (value) => hasMethods(value, methods),
})

/** Returns the kind of objects whose properties have these methods. */
export const madeOf = (takes: string, parts: Readonly<Record<string, readonly string[]>>): Kind => ({
  takes,
  holds: (value) =>
    Object.entries(parts).every(([part, methods]) =>
      hasMethods((value as Record<string, unknown> | null | undefined)?.[part], methods),
    ),
})

const ofNumber = (takes: string, holds: (value: number) => boolean): Kind => ({
  takes,
  holds: (value) => typeof value === 'number' && holds(value),
})

export const kinds = {
  text: { takes: 'a string', holds: isText },
  path: { takes: 'a path, as a non-empty string', holds: (value) => isText(value) && value !== '' },
  localPath: {
    takes: 'a path, as a non-empty string, or a file: URL',
    holds: (value) => (isText(value) && value !== '') || (value instanceof URL && value.protocol === 'file:'),
  },
  flag: { takes: 'true or false', holds: (value) => typeof value === 'boolean' },
  function: { takes: 'a function', holds: (value) => typeof value === 'function' },
  object: { takes: 'an object', holds: (value) => typeof value === 'object' && value !== null },
  signal: having('an AbortSignal', 'addEventListener', 'throwIfAborted'),
  authenticator: having('an authenticator, such as usersFile(directory)', 'authenticate', 'knows'),
  platform: madeOf('a platform, such as nodePlatform()', {
    clock: ['now', 'wallTime', 'alarm'],
    random: ['bytes', 'fraction'],
    digests: ['load', 'create'],
  }),
  port: ofNumber('a whole number from 0 to 65535', (port) => Number.isInteger(port) && port >= 0 && port <= 65_535),
  count: ofNumber('a whole number, 1 or more', (count) => Number.isSafeInteger(count) && count > 0),
  /** A number of bytes; Infinity means no limit. */
  capacity: ofNumber('a number of bytes, 0 or more, or Infinity', (bytes) => bytes >= 0),
  rate: ofNumber('more than 0 bytes a second', (rate) => rate > 0),
  /** A time; Infinity means no limit. */
  duration: ofNumber('a number of milliseconds, 0 or more, or Infinity', (ms) => ms >= 0),
  delay: ofNumber('a number of milliseconds, 0 or more', (ms) => ms >= 0 && ms < Number.POSITIVE_INFINITY),
} as const satisfies Readonly<Record<string, Kind>>

/** Returns the kind of these words. */
export const oneOf = (...words: readonly string[]): Kind => ({
  takes: `one of ${words.join(', ')}`,
  holds: (value) => words.includes(value as string),
})

/** Throws OspError `usage` if an argument of the function `where` is not of this kind. */
export function checkArgument(where: string, name: string, kind: Kind, value: unknown): void {
  if (kind.holds(value) || (kind.optional && value === undefined)) return
  const advice = kind.advice?.(value)
  const more = advice === undefined ? '' : `; ${advice}`
  throw new OspError('usage', `${where}: ${name} must be ${kind.takes}, not ${shown(value)}${more}`)
}

const optionsObject: Kind = { ...kinds.object, takes: 'an options object' }

/** Throws OspError `usage` for the first invalid or unknown option of the function `where`. */
export function checkOptions(where: string, options: Options, values: unknown): void {
  checkArgument(where, 'the argument', optionsObject, values)
  for (const name in options) {
    const kind = options[name] as Kind
    const value = (values as Record<string, unknown>)[name]
    if (value === undefined && kind.optional) continue
    if (!kind.holds(value)) checkArgument(where, `the option ${name}`, kind, value)
  }
  const unknown = unknownOf(options, values as object)
  if (unknown === undefined) return
  const names = Object.keys(options)
  const nearest = nearestName(unknown, names)
  const hint = nearest === undefined ? `the options are ${names.join(', ')}` : `did you mean ${nearest}?`
  throw new OspError('usage', `${where}: there is no option ${unknown}; ${hint}`)
}

/** Returns the first own name of `values` that is no option. */
function unknownOf(options: Options, values: object): string | undefined {
  for (const name in values) if (!Object.hasOwn(options, name) && Object.hasOwn(values, name)) return name
  return undefined
}

/** Returns a value in the form for an error message. */
export function shown(value: unknown): string {
  if (typeof value === 'string')
    return JSON.stringify(value.length > 40 ? `${value.slice(0, 40).toWellFormed()}…` : value)
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'symbol') return 'a symbol'
  if (typeof value !== 'object' || value === null) return String(value)
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : 'an array'
  const name: unknown = value.constructor?.name
  return isText(name) && name !== 'Object' && name !== '' ? `an object of class ${name}` : 'an object'
}

/** Returns the most similar of the known names if the user probably meant it, without regard to case and dashes before the name. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const [nearest] = known
    .map((candidate) => ({ candidate, changes: changesBetween(bare(name), bare(candidate)) }))
    .filter(({ candidate, changes }) => changes <= Math.floor(Math.max(bare(name).length, bare(candidate).length) / 3))
    .sort((a, b) => a.changes - b.changes)
  return nearest?.candidate
}

const bare = (name: string) => name.replace(/^-+/u, '').toLowerCase()

/** Returns the optimal string alignment distance. A missing end costs little, since flags are often abbreviated. */
function changesBetween(from: string, to: string): number {
  if (from.length > 1 && to.startsWith(from)) return (to.length - from.length) / 100
  // Row i contains the distances between the first i letters of `from` and every beginning of `to`.
  const rows = [Array.from({ length: to.length + 1 }, (_, index) => index)]
  const distance = (i: number, j: number) => rows[i]?.[j] ?? Number.POSITIVE_INFINITY
  for (let i = 1; i <= from.length; i++) {
    const row = [i]
    rows.push(row)
    for (let j = 1; j <= to.length; j++) {
      const isSwapped = from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]
      const kept = distance(i - 1, j - 1) + (from[i - 1] === to[j - 1] ? 0 : 1)
      const swapped = isSwapped ? distance(i - 2, j - 2) + 1 : Number.POSITIVE_INFINITY
      row.push(Math.min(kept, swapped, distance(i - 1, j) + 1, distance(i, j - 1) + 1))
    }
  }
  return distance(from.length, to.length)
}
