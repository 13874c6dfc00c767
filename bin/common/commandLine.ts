import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { pathText } from 'ospd/node'
import type { Command, Program } from './program.ts'
import { kind, optionalSetting, type Setting, type Settings } from './settings.ts'
import { displayed, meantName, UsageError, unexpectedOperand, unknownName } from './usage.ts'

const config = optionalSetting(kind.path, 'read settings from this JSON file, whose keys are the names of the flags')

/** Returns the settings that a command accepts, including `--config`. */
export const settingsOf = (command: Command): Settings => ({ ...command.settings, config })

/** The flags of a command. `--help` and `--version` are flags of every command. */
type KnownFlags = Readonly<Record<string, Partial<Setting<unknown>>>>

const flagsOf = (settings: Settings): KnownFlags => ({ ...settings, help: { alias: 'h' }, version: {} })

/** Commands that every program has in addition to its own. */
const extra = ['completion', 'help']

/** Returns the arguments in the form of `pathText`, since Node replaces bytes that are not UTF-8. Throws UsageError. */
export function typedArguments(): readonly string[] {
  const args = process.argv.slice(2)
  const lossy = args.find((arg) => arg.includes('\uFFFD'))
  if (lossy === undefined || process.platform === 'win32' || process.platform === 'darwin') return args
  const bytes = bytesOfArguments(args.length)
  if (bytes?.every((arg, at) => arg.toString() === args[at])) return bytes.map(pathText)
  throw new UsageError(`cannot read the bytes of the argument ${lossy}: /proc is not available; write it in UTF-8`)
}

function bytesOfArguments(count: number): readonly Buffer[] | undefined {
  try {
    // Latin-1 has a character for each byte.
    const all = readFileSync('/proc/self/cmdline', 'latin1').split('\0').slice(0, -1)
    return all.slice(-count).map((arg) => Buffer.from(arg, 'latin1'))
  } catch {
    return undefined
  }
}

/** Throws UsageError if an argument that must be text is not UTF-8. */
function checkText(command: Command, flags: object, operands: readonly string[]) {
  const values = Object.entries(flags).map(([name, value]) => [`--${name}`, value] as const)
  const words = command.takesPaths ? [] : operands.map((operand) => ['the argument', operand] as const)
  for (const [what, value] of [...values, ...words]) {
    const wrong = [value].flat().find((text) => typeof text === 'string' && !text.isWellFormed())
    if (wrong !== undefined) throw new UsageError(`${what} ${wrong} is not UTF-8`)
  }
}

/**
 * Parses the arguments. The last value of a flag applies, unless the flag is repeatable. `-` and the words after `--` are
 * operands. Throws UsageError.
 */
export function readCommandLine(program: Program, args: readonly string[]) {
  const { commands, sibling } = program
  const everything: Settings = Object.assign({}, ...commands.map(settingsOf))
  const first = tokensOf(args, flagsOf(everything)).find(({ kind }) => kind === 'positional')
  const word = first && args[first.index]
  const command = commands.find(({ name }) => name === word)
  const names = [...namesOf(commands), ...extra]
  if (first && word !== undefined && !command && !extra.includes(word)) {
    // The word after an unknown flag can be its value.
    readFlags(args.slice(0, first.index), flagsOf(everything))
    throw unknownCommand(word, [...names, '--version'], sibling)
  }
  const others = args.filter((_, at) => at !== first?.index)
  const settings = command ? settingsOf(command) : word === undefined ? everything : {}
  const { flags, operands } = readFlags(others, flagsOf(settings))
  if (flags.help) return { asks: 'help', command } as const
  if (flags.version) return { asks: 'version' } as const
  if (command) {
    checkText(command, flags, operands)
    return { asks: 'run', command, flags, operands } as const
  }
  if (word === 'help') return { asks: 'help', command: helped(program, operands) } as const
  if (word === undefined) throw new UsageError(`specify a command: ${names.join(', ')}`)
  if (operands[0] !== undefined) throw unexpectedOperand('completion', operands[0])
  return { asks: 'completion' } as const
}

const namesOf = (commands: readonly Command[]) => commands.map(({ name }) => name)

/** Returns the command that `help NAME` names; none for `help` alone. */
function helped({ commands, sibling }: Program, [name, more]: readonly string[]): Command | undefined {
  if (more !== undefined) throw new UsageError(`help takes one COMMAND; remove ${displayed(more)}`)
  if (name === undefined || extra.includes(name)) return undefined
  const command = commands.find((each) => each.name === name)
  if (command) return command
  throw unknownCommand(name, namesOf(commands), sibling)
}

/** Returns the error for a word that is not a command of this program. It can be a command of the other program. */
function unknownCommand(word: string, known: readonly string[], { name, commands }: Program['sibling']): UsageError {
  const isOwn = !commands.includes(word) && meantName(word, known) !== undefined
  const meant = isOwn ? undefined : meantName(word, commands)
  return new UsageError(
    meant === undefined
      ? unknownName('command', word, known)
      : `unknown command ${displayed(word)}; did you mean "${name} ${meant}"?`,
  )
}

function tokensOf(args: readonly string[], known: KnownFlags) {
  const options = Object.entries(known).map(([name, { alias, placeholder }]) => {
    const type = placeholder === undefined ? 'boolean' : 'string'
    return [name, { type, ...(alias !== undefined && { short: alias }) } as const] as const
  })
  // Not strict: the messages of parseArgs are not written for users. `flagOf` rejects invalid tokens.
  const how = { options: Object.fromEntries(options), strict: false, allowPositionals: true, tokens: true } as const
  return parseArgs({ args: [...args], ...how }).tokens
}

type Entry = readonly [name: string, value: string | boolean]
type OptionToken = Extract<ReturnType<typeof tokensOf>[number], { kind: 'option' }>

function readFlags(args: readonly string[], known: KnownFlags) {
  const flags = new Map<string, string | boolean | readonly string[]>()
  const operands: string[] = []
  for (const token of tokensOf(args, known)) {
    if (token.kind === 'positional') operands.push(token.value)
    if (token.kind !== 'option') continue
    const [name, value] = flagOf(token, known)
    const earlier = flags.get(name)
    flags.set(name, known[name]?.isRepeatable ? [...(Array.isArray(earlier) ? earlier : []), String(value)] : value)
  }
  return { flags: Object.fromEntries(flags), operands }
}

function flagOf({ name, rawName, value, inlineValue }: OptionToken, known: KnownFlags): Entry {
  const flag = Object.hasOwn(known, name) ? known[name] : undefined
  if (!flag) return negatedFlag(rawName, value, known)
  if (flag.placeholder === undefined) return [name, value ?? true]
  if (value === undefined) throw new UsageError(`${rawName} takes ${flag.takes}`)
  if (inlineValue || value === '-' || !value.startsWith('-')) return [name, value]
  const isValue = flag.schema?.safeParse(value).success
  const hint = isValue ? `; if the value begins with a dash, write --${name}=${value}` : `, not ${value}`
  throw new UsageError(`${rawName} takes ${flag.takes}${hint}`)
}

/** Returns the switch that `--no-NAME` turns off. Throws UsageError for any other unknown flag. */
function negatedFlag(rawName: string, value: string | undefined, known: KnownFlags): Entry {
  const [, name = ''] = /^--no-(.*)$/su.exec(rawName) ?? []
  const isSwitch = Object.hasOwn(known, name) && known[name]?.placeholder === undefined
  if (isSwitch && value === undefined) return [name, false]
  const names = Object.keys(known).map((name) => `--${name}`)
  const hint = /^--?\p{L}/u.test(rawName) ? '' : '; write an operand that begins with a dash after --'
  throw new UsageError(unknownName('flag', rawName, names) + hint)
}
