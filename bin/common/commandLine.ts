import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { pathText } from 'ospd/node'
import { unknownName } from './nearest.ts'
import type { Command, Program } from './program.ts'
import { optional, path, type Settings } from './settings.ts'
import { UsageError } from './usage.ts'

/** What the arguments of a program ask for. */
export type Request =
  | { readonly asks: 'version' }
  | { readonly asks: 'completion' }
  /** The help of a command, or of the whole program. */
  | { readonly asks: 'help'; readonly command?: Command }
  | {
      readonly asks: 'run'
      readonly command: Command
      /** What each flag was set to, the last time if it was repeated: `true` or `false` for a switch without a value. */
      readonly flags: Readonly<Record<string, string | boolean>>
      readonly operands: readonly string[]
    }

const config = optional(path, { describe: 'a JSON file with settings under the names of their flags' })

/** The settings that a command takes, `--config` included. */
export const settingsOf = (command: Command): Settings => ({ ...command.settings, config })

/** Flags that every command takes besides its settings. */
const common = { help: { alias: 'h' }, version: {} } as const

/** Commands that every program has besides its own. */
const extra = ['completion', 'help']

/**
 * The arguments of this process, as `pathText` writes them. Node puts U+FFFD in the place of bytes that are not UTF-8: as the name of
 * a file that would be another file's. Throws UsageError where it cannot be told what was typed.
 */
export function typedArguments(): readonly string[] {
  const args = process.argv.slice(2)
  const isLossy = args.some((arg) => arg.includes('\uFFFD'))
  if (!isLossy || process.platform === 'win32' || process.platform === 'darwin') return args
  const bytes = bytesOfArguments(args.length)
  if (bytes?.every((arg, at) => arg.toString() === args[at])) return bytes.map(pathText)
  const arg = args.find((arg) => arg.includes('\uFFFD'))
  throw new UsageError(`the bytes of the argument ${arg} cannot be read, since /proc is not there; write it in UTF-8`)
}

function bytesOfArguments(count: number): readonly Buffer[] | undefined {
  try {
    const line = readFileSync('/proc/self/cmdline')
    const all: Buffer[] = []
    for (let from = 0; from < line.length; ) {
      const next = line.indexOf(0, from)
      const end = next < 0 ? line.length : next
      all.push(line.subarray(from, end))
      from = end + 1
    }
    return all.slice(-count)
  } catch {
    return undefined
  }
}

/** Throws UsageError for an argument that is not UTF-8 where text is wanted. */
function checkText(command: Command, flags: Readonly<Record<string, string | boolean>>, operands: readonly string[]) {
  const values = Object.entries(flags).map(([name, value]) => [`--${name}`, value] as const)
  const words = command.takesPaths ? [] : operands.map((operand) => ['the argument', operand] as const)
  for (const [what, value] of [...values, ...words]) {
    if (typeof value === 'string' && !value.isWellFormed()) throw new UsageError(`${what} ${value} is not UTF-8`)
  }
}

/**
 * Reads the arguments of a program. Every operand and every value is a string, exactly as it was typed. A word that begins with a
 * dash is a flag, except `-` alone and everything after `--`. Throws UsageError.
 */
export function readCommandLine({ commands }: Program, args: readonly string[]): Request {
  const everything: Settings = Object.assign({}, ...commands.map(settingsOf))
  const first = tokensOf(args, everything).find(({ kind }) => kind === 'positional')
  const word = first === undefined ? undefined : args[first.index]
  const command = commands.find(({ name }) => name === word)
  const settings = command === undefined ? {} : settingsOf(command)
  const { flags, operands } = readFlags(
    args.filter((_, at) => at !== first?.index),
    settings,
  )
  if (flags.help) return { asks: 'help', ...(command && { command }) }
  if (flags.version) return { asks: 'version' }
  if (command) {
    checkText(command, flags, operands)
    return { asks: 'run', command, flags, operands }
  }
  if (word === 'help') return { asks: 'help', ...helped(commands, operands) }
  if (word === 'completion' && operands.length === 0) return { asks: 'completion' }
  const names = [...commands.map(({ name }) => name), ...extra]
  if (word === undefined) throw new UsageError(`name a command: ${names.join(', ')}`)
  if (word === 'completion') throw new UsageError(`completion takes no operand such as ${operands[0]}`)
  throw new UsageError(unknownName('command', word, [...names, '--version']))
}

/** The command that `help NAME` asks about; none for `help` alone. */
function helped(commands: readonly Command[], [name, more]: readonly string[]): { readonly command?: Command } {
  if (more !== undefined) throw new UsageError(`help takes one COMMAND, not ${more} as well`)
  if (name === undefined || extra.includes(name)) return {}
  const command = commands.find((each) => each.name === name)
  if (command) return { command }
  const names = commands.map((each) => each.name)
  throw new UsageError(unknownName('command', name, names))
}

function tokensOf(args: readonly string[], settings: Settings) {
  const options = Object.entries({ ...settings, ...common }).map(([name, { alias, placeholder }]: [string, Shape]) => [
    name,
    { type: placeholder === undefined ? 'boolean' : 'string', ...(alias !== undefined && { short: alias }) } as const,
  ])
  // Not strict, since its messages are not for users; what is wrong is found in the tokens.
  const how = { options: Object.fromEntries(options), strict: false, allowPositionals: true, tokens: true } as const
  return parseArgs({ args: [...args], ...how }).tokens
}

interface Shape {
  readonly alias?: string
  readonly placeholder?: string
  readonly takes?: string
}

function readFlags(args: readonly string[], settings: Settings) {
  const flags = new Map<string, string | boolean>()
  const operands: string[] = []
  for (const token of tokensOf(args, settings)) {
    if (token.kind === 'positional') operands.push(token.value)
    if (token.kind === 'option') flags.set(...flagOf(token, settings))
  }
  return { flags: Object.fromEntries(flags), operands }
}

interface OptionToken {
  readonly name: string
  readonly rawName: string
  readonly value: string | undefined
  readonly inlineValue: boolean | undefined
}

function flagOf({ name, rawName, value, inlineValue }: OptionToken, settings: Settings): [string, string | boolean] {
  const flag = shapeOf(name, settings)
  if (!flag) {
    const switched = name.startsWith('no-') && value === undefined ? shapeOf(name.slice(3), settings) : undefined
    if (switched && switched.placeholder === undefined) return [name.slice(3), false]
    const hint = /^--?\p{L}/u.test(rawName) ? '' : '; a word that begins with a dash goes after --'
    throw new UsageError(unknownFlag(rawName, settings) + hint)
  }
  if (flag.placeholder === undefined) return [name, value ?? true]
  if (value === undefined) throw new UsageError(`${rawName} takes ${flag.takes}`)
  if (inlineValue || value === '-' || !value.startsWith('-')) return [name, value]
  throw new UsageError(`${rawName} takes ${flag.takes}; if that begins with a dash, write --${name}=${value}`)
}

function shapeOf(name: string, settings: Settings): Shape | undefined {
  const known: Readonly<Record<string, Shape>> = { ...settings, ...common }
  return Object.hasOwn(known, name) ? known[name] : undefined
}

function unknownFlag(flag: string, settings: Settings): string {
  const known = Object.keys({ ...settings, ...common }).map((name) => `--${name}`)
  return unknownName('flag', flag, known)
}
