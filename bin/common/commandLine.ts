import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { pathText } from 'ospd/node'
import type { Command, Program } from './program.ts'
import { optional, path, type Setting, type Settings } from './settings.ts'
import { shown, UsageError, unexpectedOperand, unknownName } from './usage.ts'

/** The action that the arguments of a program request. */
export type ParsedCommandLine =
  | { readonly asks: 'version' }
  | { readonly asks: 'completion' }
  /** Help for `command`, or for the whole program. */
  | { readonly asks: 'help'; readonly command?: Command }
  | {
      readonly asks: 'run'
      readonly command: Command
      /**
       * The value of each flag, and the last value of a repeated flag. A switch without a value is `true` or `false`.
       */
      readonly flags: Readonly<Record<string, string | boolean>>
      readonly operands: readonly string[]
    }

const config = optional(path, { describe: 'read settings from this JSON file, under the names of the flags' })

/** Returns the settings that a command accepts, including `--config`. */
export const settingsOf = (command: Command): Settings => ({ ...command.settings, config })

/** Flags that every command accepts in addition to its settings. */
const common = { help: { alias: 'h' }, version: {} } as const

/** Commands that every program has in addition to its own. */
const extra = ['completion', 'help']

/**
 * Returns the arguments of this process, encoded as by `pathText`. Node replaces bytes that are not UTF-8 with U+FFFD,
 * and the result can be the name of another file. Throws UsageError if the original bytes cannot be read.
 */
export function typedArguments(): readonly string[] {
  const args = process.argv.slice(2)
  const isLossy = args.some((arg) => arg.includes('\uFFFD'))
  if (!isLossy || process.platform === 'win32' || process.platform === 'darwin') return args
  const bytes = bytesOfArguments(args.length)
  if (bytes?.every((arg, at) => arg.toString() === args[at])) return bytes.map(pathText)
  const arg = args.find((arg) => arg.includes('\uFFFD'))
  throw new UsageError(`cannot read the bytes of the argument ${arg}: /proc is not available; write it in UTF-8`)
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

/** Throws UsageError if an argument that must be text is not UTF-8. */
function checkText(command: Command, flags: Readonly<Record<string, string | boolean>>, operands: readonly string[]) {
  const values = Object.entries(flags).map(([name, value]) => [`--${name}`, value] as const)
  const words = command.takesPaths ? [] : operands.map((operand) => ['the argument', operand] as const)
  for (const [what, value] of [...values, ...words]) {
    if (typeof value === 'string' && !value.isWellFormed()) throw new UsageError(`${what} ${value} is not UTF-8`)
  }
}

/**
 * Parses the arguments of a program. Every operand and every value is a string, exactly as typed. A word that begins
 * with a dash is a flag, except `-` itself and every word after `--`. Throws UsageError.
 */
export function readCommandLine({ commands, sibling }: Program, args: readonly string[]): ParsedCommandLine {
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
  if (word === 'help') return { asks: 'help', ...helped({ commands, sibling }, operands) }
  if (word === 'completion' && operands.length === 0) return { asks: 'completion' }
  const names = [...commands.map(({ name }) => name), ...extra]
  if (word === undefined) throw new UsageError(`specify a command: ${names.join(', ')}`)
  if (word === 'completion') throw unexpectedOperand('completion', operands[0] ?? '')
  throw new UsageError(unknownCommand(word, [...names, '--version'], sibling))
}

/** Returns the command that `help NAME` names; none for `help` alone. */
function helped(
  { commands, sibling }: Pick<Program, 'commands' | 'sibling'>,
  [name, more]: readonly string[],
): { readonly command?: Command } {
  if (more !== undefined) throw new UsageError(`help takes one COMMAND; remove ${shown(more)}`)
  if (name === undefined || extra.includes(name)) return {}
  const command = commands.find((each) => each.name === name)
  if (command) return { command }
  const names = commands.map((each) => each.name)
  throw new UsageError(unknownCommand(name, names, sibling))
}

/** Returns the message for a word that is not a command of this program. It can be a command of the other program. */
function unknownCommand(word: string, known: readonly string[], { name, commands }: Program['sibling']): string {
  return commands.includes(word)
    ? `unknown command ${word}; did you mean "${name} ${word}"?`
    : unknownName('command', word, known)
}

function tokensOf(args: readonly string[], settings: Settings) {
  const options = Object.entries({ ...settings, ...common }).map(
    ([name, { alias, placeholder }]: [string, FlagShape]) => [
      name,
      { type: placeholder === undefined ? 'boolean' : 'string', ...(alias !== undefined && { short: alias }) } as const,
    ],
  )
  // Not strict: the messages of parseArgs are not written for users. `flagOf` rejects invalid tokens.
  const how = { options: Object.fromEntries(options), strict: false, allowPositionals: true, tokens: true } as const
  return parseArgs({ args: [...args], ...how }).tokens
}

interface FlagShape {
  readonly alias?: string
  readonly placeholder?: string
  readonly takes?: string
  readonly schema?: Setting<unknown>['schema']
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
    const hint = /^--?\p{L}/u.test(rawName) ? '' : '; write an operand that begins with a dash after --'
    throw new UsageError(unknownFlag(rawName, settings) + hint)
  }
  if (flag.placeholder === undefined) return [name, value ?? true]
  if (value === undefined) throw new UsageError(`${rawName} takes ${flag.takes}`)
  if (inlineValue || value === '-' || !value.startsWith('-')) return [name, value]
  const isValue = flag.schema?.safeParse(value).success ?? false
  const hint = isValue ? `; if the value begins with a dash, write --${name}=${value}` : `, not ${value}`
  throw new UsageError(`${rawName} takes ${flag.takes}${hint}`)
}

function shapeOf(name: string, settings: Settings): FlagShape | undefined {
  const known: Readonly<Record<string, FlagShape>> = { ...settings, ...common }
  return Object.hasOwn(known, name) ? known[name] : undefined
}

function unknownFlag(flag: string, settings: Settings): string {
  const known = Object.keys({ ...settings, ...common }).map((name) => `--${name}`)
  return unknownName('flag', flag, known)
}
