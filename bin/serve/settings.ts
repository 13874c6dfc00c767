import { type Limit, type Limits, limitTable } from 'ospd'
import {
  choice,
  count,
  duration,
  jsonSetting,
  optionalSetting,
  path,
  pem,
  port,
  type Setting,
  setting,
  size,
  switched,
  text,
  type ValueKind,
  type Values,
} from '../common/settings.ts'

const ownSettings = {
  host: setting(text, '127.0.0.1', { describe: 'address to listen on' }),
  port: setting(port, '6682', { describe: 'port to listen on; 0 selects a free port' }),
  data: setting(path, './ospd-data', { describe: 'directory for files, messages and users' }),
  tls: optionalSetting(choice('auto'), {
    describe: 'use TLS, with a key and a self-signed certificate that are created in the data directory',
    unset: 'no TLS',
  }),
  'tls-cert': optionalSetting(pem, { describe: 'use TLS with the certificate in FILE' }),
  'tls-key': optionalSetting(pem, { describe: 'private key of --tls-cert' }),
  'tls-client-ca': optionalSetting(pem, {
    describe: 'request a certificate from each client, and accept those of the authority in FILE',
  }),
  'on-conflict': setting(choice('replace', 'rename', 'reject'), 'replace', {
    describe: 'action if a file of the same name is already stored',
  }),
  insecure: switched({
    describe: 'accept connections from other machines without tokens, or with tokens but without TLS',
  }),
  quiet: switched({ alias: 'q', describe: 'log only warnings and errors' }),
  json: jsonSetting,
} as const

/** How the flag of a limit is read and written. The largest unit is first. */
const numbers = { kind: count, noun: 'a whole number', examples: '', units: {} }
const sizes = {
  kind: size,
  noun: 'a size',
  examples: ', such as 500k, 10M or 2G',
  units: { G: 1024 ** 3, M: 1024 ** 2, k: 1024 },
}
const durations = {
  kind: duration,
  noun: 'a duration',
  examples: ', such as 500ms, 30s, 5m or 7d',
  units: { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 },
}

const flagged = Object.entries<Limit>(limitTable).flatMap(([name, limit]) =>
  limit.flag === undefined ? [] : [{ name, limit, flag: limit.flag }],
)

/** The settings that set a limit of the server, one for each flag in the table of limits. */
export const limitSettings: Readonly<Record<string, Setting<number | undefined>>> = Object.fromEntries(
  flagged.map(({ name, flag, limit }) => [flag, limitSetting(name, limit)]),
)

/** The settings of `ospd serve`: its own, and the flags of the limits, which `limitsOf` reads. */
export const serveSettings: typeof ownSettings = { ...ownSettings, ...limitSettings }

export type ServeValues = Values<typeof ownSettings>

/** Returns how the flag of a limit is read and written, by the unit in the limit's name. */
function formOf(name: string) {
  if (/ms(?:PerSecond)?$/iu.test(name)) return durations
  if (/bytes(?:PerSecond)?$/iu.test(name)) return sizes
  return name.endsWith('Percent') ? { ...numbers, kind: { ...count, placeholder: 'PERCENT' } } : numbers
}

function limitSetting(name: string, limit: Limit): Setting<number | undefined> {
  const { default: value, describe, unset, range: [lower, most] = [1, Number.MAX_SAFE_INTEGER] } = limit
  const { kind, noun, examples, units } = formOf(name)
  const least = Math.max(1, lower)
  const isBounded = most < Number.MAX_SAFE_INTEGER
  const range = isBounded
    ? `from ${inUnits(least, units)} to ${inUnits(most, units)}`
    : `of at least ${inUnits(least, units)}`
  const ranged: ValueKind<number> = {
    ...kind,
    schema: kind.schema.refine((value) => value >= least && value <= most),
    takes: `${noun} ${range}${examples}`,
  }
  if (unset !== undefined) return optionalSetting(ranged, { describe, unset })
  return setting(ranged, inUnits(value, units), { describe })
}

/** Returns a value in the largest unit that divides it. */
function inUnits(value: number, units: Readonly<Record<string, number>>): string {
  const [unit, factor] = Object.entries(units).find(([, factor]) => value % factor === 0) ?? ['', 1]
  return `${value / factor}${unit}`
}

/** Returns the limits that the flags set. */
export function limitsOf(values: object): Partial<Limits> {
  const given = values as Readonly<Record<string, number | undefined>>
  const limits = flagged.flatMap(({ name, flag }) => (given[flag] === undefined ? [] : [[name, given[flag]] as const]))
  return {
    ...Object.fromEntries(limits),
    // Bytes alone decide then.
    ...(given.reserve !== undefined && { reservePercent: 100 }),
  }
}
