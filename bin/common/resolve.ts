import { z } from 'zod'
import { readText } from './files.ts'
import { refuseToken } from './secrets.ts'
import type { Settings, Values } from './settings.ts'
import { UsageError, unknownName } from './usage.ts'

/** The sources of values besides the defaults. */
export interface Given {
  readonly flags: Readonly<Record<string, string | boolean>>
  readonly env: Readonly<Record<string, string | undefined>>
  /** The prefix of the environment variables of the program, such as `OSP`. */
  readonly prefix: string
  /** The names of all settings of the program, which a configuration file may contain. */
  readonly known: readonly string[]
}

/** Returns the environment variable of a setting, such as `OSP_RETRY_FOR`. */
export function variableOf(prefix: string, name: string): string {
  return `${prefix}_${name.toUpperCase().replaceAll('-', '_')}`
}

/**
 * Returns the values of `settings`. A flag overrides the environment, which overrides the configuration file, which
 * overrides the default. An empty variable counts as absent. Throws UsageError that names a value that is not accepted and
 * its source.
 */
export function resolve<S extends Settings>(settings: S, given: Given): Values<S> {
  const { flags, env, prefix, known } = given
  const variable = (name: string) => env[variableOf(prefix, name)] || undefined
  const configPath = flags.config ?? variable('config')
  const configFrom = flags.config === undefined ? variableOf(prefix, 'config') : '--config'
  const config = configPath === undefined ? {} : readConfig(configFrom, String(configPath), known)
  const values = Object.entries(settings).map(([name, setting]) => {
    const sources: readonly (readonly [unknown, string])[] = [
      [flags[name], `--${name}`],
      [variable(name), variableOf(prefix, name)],
      [config[name], `"${name}" in ${configPath}`],
      [setting.fallback, `the default of --${name}`],
    ]
    const [value, from] = sources.find(([value]) => value !== undefined) ?? [undefined, '']
    refuseToken(`the value of ${from}`, value)
    const result = setting.schema.safeParse(value)
    if (!result.success) {
      const fault = typeof value === 'string' ? setting.fault?.(value) : undefined
      const shown = setting.isSecret ? 'that value' : JSON.stringify(value)
      throw new UsageError(`${from} cannot be ${shown}: ${fault ? `${fault}; ` : ''}it takes ${setting.takes}`)
    }
    return [name, result.data] as const
  })
  return Object.fromEntries(values) as Values<S>
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
