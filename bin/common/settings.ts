import { addressFault, parseAddress, serverPort } from 'ospd/node'
import * as z from 'zod/mini'
import { readText } from './files.ts'
import { refuseDatabaseUrl, refuseToken } from './secrets.ts'
import { parseDuration, parseSize } from './units.ts'
import { UsageError, unknownName } from './usage.ts'

/** A value that can be set with a flag, an environment variable or a configuration file. */
export interface Setting<T> {
  readonly schema: z.ZodMiniType<T>
  /** Describes the accepted values, as the end of a sentence that begins with "it takes". */
  readonly takes: string
  /** Describes the fault of a value that `schema` rejects, if it is known. */
  readonly fault?: (value: string) => string | undefined
  /** Represents the value in the help text. A switch has none. */
  readonly placeholder?: string
  /** Set if a rejected value can be a token, which no error message repeats. */
  readonly isSecret?: true
  /** Set if the value is the URL of a database, which no other setting of `ospd` takes. */
  readonly isDatabase?: true
  /** Set if the flag can be repeated. A variable then has one value per line, and a file has a list. */
  readonly isRepeatable?: true
  readonly describe: string
  /** The default, as a user would write it. A setting without one can be absent. */
  readonly fallback?: string | boolean
  /** Describes what applies if the setting is absent. */
  readonly unset?: string
  readonly alias?: string
}

/** The settings of a command, by the names of their flags. */
export type Settings = Readonly<Record<string, Setting<unknown>>>

/** The values of settings. */
export type Values<S extends Settings> = { readonly [K in keyof S]: S[K] extends Setting<infer T> ? T : never }

/** A kind of values. */
export type ValueKind<T> = Pick<
  Setting<T>,
  'schema' | 'takes' | 'fault' | 'placeholder' | 'isSecret' | 'isDatabase' | 'isRepeatable'
>

/** Returns a setting with a default. */
export function setting<T>(kind: ValueKind<T>, fallback: string, describe: string, alias?: string): Setting<T> {
  return { ...kind, fallback, describe, ...(alias !== undefined && { alias }) }
}

/** Returns a setting that can be absent. `unset` describes what applies then. */
export function optionalSetting<T>(kind: ValueKind<T>, describe: string, unset?: string): Setting<T | undefined> {
  return { ...kind, schema: z.optional(kind.schema), describe, ...(unset !== undefined && { unset }) }
}

/** Returns a setting with any number of values. `parse` parses each value, and returns `undefined` if it is invalid. */
export function repeatable<T>(
  placeholder: string,
  takes: string,
  parse: (text: string) => T | undefined,
  describe: string,
): Setting<readonly T[]> {
  const schema = z
    .pipe(
      z.optional(z.union([z.string(), z.array(z.string())])),
      z.transform((given = []) => {
        const texts = typeof given === 'string' ? given.split('\n').filter(Boolean) : given
        return texts.map(parse)
      }),
    )
    .check(z.refine((values) => values.every((value) => value !== undefined))) as unknown as z.ZodMiniType<readonly T[]>
  return { schema, takes, placeholder, describe: `${describe}; can be repeated`, isRepeatable: true }
}

/** Returns a switch, which is off by default. */
export function switched(describe: string, alias?: string): Setting<boolean> {
  return { ...onOff, fallback: false, describe, ...(alias !== undefined && { alias }) }
}

/** Returns the schema of a value that `parse` accepts, which returns `undefined` for a wrong text. */
const read = <T>(parse: (text: string) => T | undefined) =>
  z
    .pipe(
      z.union([z.string(), z.number()]),
      z.transform((value) => parse(String(value))),
    )
    .check(z.refine((parsed) => parsed !== undefined)) as unknown as z.ZodMiniType<T>

const words = new Map([
  ...['1', 'true', 'yes', 'on'].map((word) => [word, true] as const),
  ...['0', 'false', 'no', 'off'].map((word) => [word, false] as const),
])

const onOff: ValueKind<boolean> = {
  schema: z.union([z.boolean(), read((text) => words.get(text.toLowerCase()))]),
  takes: 'true or false',
}

/** Returns a kind whose values `parse` reads. `parse` returns `undefined` for an invalid text. */
export function readKind<T>(placeholder: string, takes: string, parse: (text: string) => T | undefined): ValueKind<T> {
  return { placeholder, takes, schema: read(parse) }
}

const kindOf = <T>(placeholder: string, takes: string, schema: z.ZodMiniType<T>) => ({ placeholder, takes, schema })

/** Does not use `minLength`, which reads `length` of values of other types and can throw. */
const filled = z.string().check(z.refine((value) => value !== ''))

/** Returns the schema of a whole number that matches `form`. */
const whole = (form: RegExp, most = Number.MAX_SAFE_INTEGER) =>
  read((text) => (form.test(text) && Number(text) <= most ? Number(text) : undefined))

/** The kinds of values that several commands take. */
export const kind = {
  text: kindOf('TEXT', 'text that is not empty', filled),
  path: kindOf('PATH', 'a path', filled),
  pem: kindOf('FILE', 'the path of a PEM file', filled),
  fingerprint: {
    schema: z.string().check(z.regex(/^SHA256:[A-Za-z\d+/]{43}$/u)),
    takes: 'a fingerprint, as ospd prints it when it starts: SHA256: followed by 43 characters',
    placeholder: 'SHA256:…',
    isSecret: true,
  },
  count: kindOf('N', 'a whole number of at least 1', whole(/^[1-9]\d{0,8}$/u)),
  port: kindOf('PORT', 'a port from 0 to 65535; 0 selects a free port', whole(/^\d{1,5}$/u, 65_535)),
  size: kindOf(
    'SIZE',
    'a size above 0 such as 500k, 10M or 2G',
    read((text) => parseSize(text) || undefined),
  ),
  duration: kindOf('TIME', 'a duration such as 500ms, 30s, 5m or 7d', read(parseDuration)),
} as const

export function choice<const T extends string>(...choices: readonly [T, ...T[]]): ValueKind<T> {
  return {
    schema: z.enum(choices),
    takes: choices.length === 1 ? choices[0] : `one of ${choices.join(', ')}`,
    placeholder: choices.join('|'),
  }
}

/** The setting `--json` of every command. */
export const jsonSetting = switched('print results as JSON, one object per line (docs/json.md)')

/** The address of a server, as given with `--server`. */
export interface ServerAddress {
  readonly host: string
  readonly port: number
}

/** Accepts `HOST:PORT`, `HOST` or `[IPv6 address]:PORT`. An IPv6 address can have a zone: `[fe80::1%eth0]:6682`. */
export const serverAddress: ValueKind<ServerAddress> = {
  schema: read((text) => {
    const { host, port = serverPort } = parseAddress(text) ?? {}
    return host === undefined || port === 0 ? undefined : { host, port }
  }),
  takes: 'HOST:PORT, with an IPv6 address in brackets',
  fault: addressFault,
  placeholder: 'HOST:PORT',
}

/** Accepts `HOST:PORT` as `serverAddress` does, with a port that can be 0. */
export const listenAddress: ValueKind<ServerAddress> = {
  schema: read((text) => {
    const { host, port } = parseAddress(text) ?? {}
    return host === undefined || port === undefined ? undefined : { host, port }
  }),
  takes: 'HOST:PORT, with an IPv6 address in brackets; port 0 selects a free port',
  fault: addressFault,
  placeholder: 'HOST:PORT',
}

/** Returns `HOST:PORT`, with an IPv6 address in brackets. */
export function addressText({ host, port }: ServerAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** The values of flags on the command line. That of a repeatable flag is an array. */
export type Flags = Readonly<Record<string, string | boolean | readonly string[]>>

/** The sources of values besides the defaults. */
export interface Given {
  readonly flags: Flags
  readonly env: Readonly<Record<string, string | undefined>>
  /** The prefix of the environment variables of the program, such as `OSP`. */
  readonly prefix: string
  /** The names of all settings of the program, which a configuration file may contain. */
  readonly known: readonly string[]
  /** Returns values for settings that are not given, if the command takes a server. */
  readonly defaults?: ((given: ReadGiven) => Defaults | undefined) | undefined
}

/** Returns the given value of a setting, or `undefined` if none is given. Throws UsageError. */
export type ReadGiven = <T>(name: string, setting: Setting<T>) => T | undefined

/** Values by the names of settings, and their origin for error messages. */
export interface Defaults {
  readonly from: string
  readonly values: Readonly<Record<string, unknown>>
}

/** Returns the environment variable of a setting, such as `OSP_RETRY_FOR`. */
export function variableOf(prefix: string, name: string): string {
  return `${prefix}_${name.toUpperCase().replaceAll('-', '_')}`
}

/** Returns the values: of the flag, the variable, the file, the defaults or the fallback, in this order. Throws UsageError. */
export function resolve<S extends Settings>(settings: S, given: Given): Values<S> {
  const { flags, env, prefix, known } = given
  const variable = (name: string) => env[variableOf(prefix, name)] || undefined
  const configPath = flags.config ?? variable('config')
  const configFrom = flags.config === undefined ? variableOf(prefix, 'config') : '--config'
  const config = configPath === undefined ? {} : readConfig(configFrom, String(configPath), known)
  const takesDatabases = known.includes('cluster')
  const sourcesOf = (name: string): readonly Source[] => [
    [flags[name], `--${name}`],
    [variable(name), variableOf(prefix, name)],
    [config[name], `"${name}" in ${configPath}`],
  ]
  const read = <T>(setting: Setting<T>, [value, from]: Source): T => {
    refuseToken(`the value of ${from}`, value)
    if (!setting.isDatabase) refuseDatabaseUrl(`the value of ${from}`, value, takesDatabases)
    const result = setting.schema.safeParse(value)
    if (!result.success) throw wrongValue(from, setting, value)
    return result.data
  }
  const readGiven: ReadGiven = (name, setting) => {
    const source = sourcesOf(name).find(isSet)
    return source && read(setting, source)
  }
  const { values: defaults = {}, from = '' } = (settings.server && given.defaults?.(readGiven)) || {}
  const values = Object.entries(settings).map(([name, setting]) => {
    const sources: readonly Source[] = [
      ...sourcesOf(name),
      [defaults[name], from],
      [setting.fallback, `the default of --${name}`],
    ]
    return [name, read(setting, sources.find(isSet) ?? [undefined, ''])] as const
  })
  return Object.fromEntries(values) as Values<S>
}

/**
 * Returns the values with the defaults of settings that do not apply to this call: a variable or the file can set them for other
 * calls. Throws UsageError with `text` if a flag sets one of them; `text` can contain `FLAG` for the name of the flag.
 */
export function resetUnused<S extends Settings, V extends Partial<Values<S>>>(
  settings: S,
  unused: readonly (keyof S & keyof V & string)[],
  values: V,
  flags: Readonly<Record<string, unknown>>,
  text: string,
): V {
  const defaults = unused.map((name) => [name, settings[name]?.schema.parse(settings[name].fallback)] as const)
  const [wrong] = defaults.find(([name, standard]) => flags[name] !== undefined && values[name] !== standard) ?? []
  if (wrong !== undefined) throw new UsageError(text.replace('FLAG', `--${wrong}`))
  return { ...values, ...Object.fromEntries(defaults) }
}

/** A value and its origin for error messages. */
type Source = readonly [value: unknown, from: string]

const isSet = ([value]: Source) => value !== undefined

function wrongValue(from: string, setting: Setting<unknown>, value: unknown): UsageError {
  const { schema, takes, fault, isSecret, isRepeatable } = setting
  const wrong = isRepeatable && Array.isArray(value) ? value.find((one) => !schema.safeParse([one]).success) : value
  const known = typeof wrong === 'string' ? fault?.(wrong) : undefined
  const shown = isSecret ? 'that value' : JSON.stringify(wrong)
  return new UsageError(`${from} cannot be ${shown}: ${known ? `${known}; ` : ''}it takes ${takes}`)
}

function readConfig(from: string, path: string, known: readonly string[]): Readonly<Record<string, unknown>> {
  const text = readText(from, path)
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    // The message of the parser can repeat the beginning of the file, which can be a token.
    const [where = ''] = / at position \d+(?: \(line \d+ column \d+\))?/u.exec((error as Error).message) ?? []
    throw new UsageError(`${from} ${path} is not JSON${where && `: there is an error${where}`}`)
  }
  const result = z.record(z.string(), z.unknown()).safeParse(json)
  if (!result.success) throw new UsageError(`${from} ${path} is not a JSON object`)
  for (const key of Object.keys(result.data)) {
    if (!known.includes(key)) throw new UsageError(`in ${path}: ${unknownName('setting', key, known)}`)
  }
  return result.data
}
