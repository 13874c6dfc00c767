import { isUserName, type Limit, type Limits, limitTable, type NotifyRule } from 'ospd'
import { isNetwork, serverPort } from 'ospd/node'
import * as z from 'zod/mini'
import { databaseUrl } from '../cluster/location.ts'
import {
  choice,
  jsonSetting,
  kind,
  listenAddress,
  optionalSetting,
  readKind,
  repeatable,
  setting,
  switched,
  type Values,
} from '../common/settings.ts'

/** Accepts networks and addresses, with commas between them. */
const networks = readKind(
  'NETWORK[,NETWORK]',
  'networks or addresses with commas between them, such as 10.0.0.0/24,2001:db8::/32',
  (text) => {
    const all = text.split(',').map((network) => network.trim())
    return all.every(isNetwork) ? all : undefined
  },
)

/** Reads a rule of `--notify`. Returns `undefined` for an invalid user name. */
function ruleOf(text: string): NotifyRule | undefined {
  const [user = '', ...rest] = text.split(':')
  if (!isUserName(user)) return undefined
  return rest.length > 0 ? { user, pattern: rest.join(':') } : { user }
}

const ownSettings = {
  host: setting(kind.text, '127.0.0.1', 'address to listen on'),
  port: setting(kind.port, String(serverPort), 'port to listen on; 0 selects a free port'),
  data: setting(kind.path, './ospd-data', 'directory for files, messages and users'),
  cluster: optionalSetting(
    databaseUrl,
    'PostgreSQL database in which the servers of a cluster share records, messages and users',
    'one server, with all data in --data',
  ),
  files: optionalSetting(kind.path, 'with --cluster: shared directory for the content of files'),
  tls: optionalSetting(
    choice('auto'),
    'use TLS, with a key and a self-signed certificate that are created in the data directory',
    'no TLS',
  ),
  'tls-cert': optionalSetting(kind.pem, 'use TLS with the certificate in FILE'),
  'tls-key': optionalSetting(kind.pem, 'private key of --tls-cert'),
  'tls-client-ca': optionalSetting(kind.pem, 'request client certificates, and accept those of the authority in FILE'),
  'proxy-protocol': optionalSetting(
    networks,
    'require a PROXY protocol header, version 1 or 2, on connections from the load balancers in these networks',
    'none',
  ),
  health: optionalSetting(
    listenAddress,
    'serve the health checks /live and /ready over HTTP, without TLS; port 0 selects a free port, which is logged',
    'none',
  ),
  drain: optionalSetting(
    kind.duration,
    'time after SIGTERM in which clients are still accepted and /ready returns 503; a second signal ends it',
    '5s with --health, otherwise 0',
  ),
  'on-conflict': setting(
    choice('replace', 'rename', 'reject'),
    'replace',
    'action if a file of this name is already stored',
  ),
  notify: repeatable(
    'USER[:PATTERN]',
    'a user name, or a user name, a colon and a pattern, such as ingest:*.csv',
    ruleOf,
    'send USER a message for each stored file whose name matches; * stands for any characters, ? for one',
  ),
  'allow-plaintext': switched('accept connections from other machines without tokens, or with tokens but without TLS'),
  quiet: switched('log only warnings and errors', 'q'),
  json: jsonSetting,
} as const

/** How the flag of a limit is read and written. The largest unit is first. */
const numbers = { base: kind.count, noun: 'a whole number', examples: '', units: {} }
const sizes = {
  base: kind.size,
  noun: 'a size',
  examples: ', such as 500k, 10M or 2G',
  units: { G: 1024 ** 3, M: 1024 ** 2, k: 1024 },
}
const durations = {
  base: kind.duration,
  noun: 'a duration',
  examples: ', such as 500ms, 30s, 5m or 7d',
  units: { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 },
}

const flagged = Object.entries<Limit>(limitTable).flatMap(([name, limit]) =>
  limit.flag === undefined ? [] : [{ name, limit, flag: limit.flag }],
)

/** The settings that set a limit of the server, one for each flag in the table of limits. */
export const limitSettings = Object.fromEntries(flagged.map((each) => [each.flag, limitSetting(each)]))

/** The settings of `ospd serve`: its own, and the flags of the limits, which `limitsOf` reads. */
export const serveSettings: typeof ownSettings = { ...ownSettings, ...limitSettings }

export type ServeValues = Values<typeof ownSettings>

/** The default drain time of a daemon with a health port, so that a load balancer notices that it is not ready. */
const healthDrainMs = 5_000

/** Returns the drain time. */
export function drainMsOf({ drain, health }: ServeValues): number {
  return drain ?? (health ? healthDrainMs : 0)
}

/** Returns how the flag of a limit is read and written, by the unit in the limit's name. */
function formOf(name: string) {
  if (/ms(?:PerSecond)?$/iu.test(name)) return durations
  if (/bytes(?:PerSecond)?$/iu.test(name)) return sizes
  return name.endsWith('Percent') ? { ...numbers, base: { ...kind.count, placeholder: 'PERCENT' } } : numbers
}

function limitSetting({ name, limit }: (typeof flagged)[number]) {
  const { default: value, describe, unset, range: [lower, most] = [1, Number.MAX_SAFE_INTEGER] } = limit
  const { base, noun, examples, units } = formOf(name)
  const least = Math.max(1, lower)
  const range =
    most < Number.MAX_SAFE_INTEGER
      ? `from ${inUnits(least, units)} to ${inUnits(most, units)}`
      : `of at least ${inUnits(least, units)}`
  const ranged = {
    ...base,
    schema: base.schema.check(z.refine((value) => value >= least && value <= most)),
    takes: `${noun} ${range}${examples}`,
  }
  if (unset !== undefined) return optionalSetting(ranged, describe, unset)
  return setting(ranged, inUnits(value, units), describe)
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
