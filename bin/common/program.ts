import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { OspError } from 'ospd'
import yargs, { type Argv } from 'yargs'
import { hideBin } from 'yargs/helpers'
import { exitCodeOf, exitCodes } from './exitCodes.ts'
import { unknownName } from './nearest.ts'
import { errorLine } from './output.ts'
import { printable } from './printable.ts'
import { resolve, variableOf } from './resolve.ts'
import { optional, path, type Setting, type Settings, type Values } from './settings.ts'
import { UsageError } from './usage.ts'

/** A command of a program. `run` resolves with the exit code. */
export interface Command<S extends Settings = Settings> {
  readonly name: string
  /** What stands behind the name in the help, as `FILE...`. */
  readonly operands: string
  readonly describe: string
  readonly settings: S
  /** Command lines, and what they do. */
  readonly examples: readonly (readonly [line: string, does: string])[]
  run(values: Values<S>, operands: readonly string[]): Promise<number>
}

export interface Program {
  readonly name: string
  readonly describe: string
  /** What stands before the names of its environment variables. */
  readonly prefix: string
  readonly commands: readonly Command[]
}

/** A command for the list of a program, which knows nothing of its settings' types. */
export function command<S extends Settings>(definition: Command<S>): Command {
  return definition as unknown as Command
}

const config = optional(path, { describe: 'a JSON file with settings under the names of their flags' })

/** Runs the program on this process's arguments, and sets its exit code. */
export async function main(program: Program): Promise<void> {
  const args = hideBin(process.argv)
  try {
    process.exitCode = await start(program, args)
  } catch (error) {
    process.exitCode = report(program, args[0], error)
  }
}

async function start(program: Program, args: readonly string[]): Promise<number> {
  const { name, describe, commands } = program
  let code: number | undefined
  const parser = yargs([...args])
    .scriptName(name)
    .usage(`${name} COMMAND\n\n${describe}`)
    .locale('en')
    .exitProcess(false)
    .wrap(Math.min(100, process.stdout.columns ?? 100))
    .parserConfiguration({
      'camel-case-expansion': false,
      'dot-notation': false,
      'parse-numbers': false,
      'strip-aliased': true,
    })
    // By itself yargs takes any last word "help" for the flag, a message's text too.
    .help(false)
    .option('help', { alias: 'h', type: 'boolean', describe: 'show this help' })
    .version(version())
    .describe('version', 'show the version')
    .completion('completion', "print the shell's completion script")
    .epilogue(`${name} COMMAND --help tells more about a command.`)
    .fail((message: string | null, error?: Error) => {
      throw error && error.name !== 'YError'
        ? error
        : new UsageError(withoutValue(commands, args) ?? message ?? error?.message ?? 'it was called wrongly')
    })
  for (const each of commands) {
    parser.command(
      each.name,
      each.describe,
      (of) => describeCommand(of, program, each),
      async (argv) => {
        code = argv.help ? await showHelp(parser) : await runCommand(program, each, argv)
      },
    )
  }
  const argv = await parser.parseAsync()
  if (code !== undefined) return code
  if (argv.help || argv._[0] === 'help') return await showHelp(parser)
  checkNoCommand(program, argv)
  return exitCodes.done
}

/** What a flag takes that has no value though it needs one, if that is wrong. */
function withoutValue(commands: readonly Command[], args: readonly string[]): string | undefined {
  const command = commands.find(({ name }) => name === args[0])
  for (const [flag, { alias, placeholder, takes }] of Object.entries(command ? settingsOf(command) : {})) {
    const isBare = (arg: string, at: number) =>
      (arg === `--${flag}` || arg === `-${alias}`) && /^(?:-.|$)/u.test(args[at + 1] ?? '')
    if (placeholder !== undefined && args.some(isBare)) return `--${flag} takes ${takes}`
  }
}

async function showHelp(parser: Argv): Promise<number> {
  process.stdout.write(`${await parser.getHelp()}\n`)
  return exitCodes.done
}

function describeCommand(parser: Argv, { name, prefix }: Program, command: Command): Argv {
  const line = [name, command.name, command.operands].filter(Boolean).join(' ')
  parser.usage(`${line} [flags]\n\n${command.describe}`)
  for (const [flag, setting] of Object.entries(settingsOf(command))) parser.option(flag, flagOf(setting))
  for (const [line, does] of command.examples) parser.example(line, does)
  const variable = variableOf(prefix, Object.keys(command.settings)[0] ?? 'config')
  return parser.epilogue(
    `Each flag is also an environment variable (${variable}) and a key in the --config file; a flag beats a variable, ` +
      'which beats the file. Sizes read 500k, 10M, 2G, durations 30s, 5m, 7d.',
  )
}

function flagOf({ describe, alias, placeholder, fallback }: Setting<unknown>) {
  const shown = typeof fallback === 'string' ? ` [${fallback}]` : ''
  return {
    ...(alias === undefined ? {} : { alias }),
    // The value's placeholder stands in the text, since yargs prints none.
    describe: placeholder === undefined ? describe : `${placeholder}: ${describe}${shown}`,
    ...(placeholder === undefined ? { type: 'boolean' as const } : { requiresArg: true }),
  }
}

const settingsOf = (command: Command): Settings => ({ ...command.settings, config })

/** Names that every command takes, and what yargs itself puts into its result. */
const common = ['help', 'version']

async function runCommand(
  program: Program,
  command: Command,
  argv: Readonly<Record<string, unknown>>,
): Promise<number> {
  const { _: operands, $0: _name, ...flags } = argv
  const names = Object.keys(settingsOf(command))
  checkFlags(flags, [...names, ...common])
  const known = program.commands.flatMap(({ settings }) => Object.keys(settings))
  const values = resolve(command.settings, { flags, env: process.env, prefix: program.prefix, known })
  return command.run(values, (operands as readonly unknown[]).slice(1).map(String))
}

function checkFlags(flags: Readonly<Record<string, unknown>>, known: readonly string[]): void {
  for (const flag of Object.keys(flags)) {
    if (!known.includes(flag)) throw new UsageError(unknownName('flag', dashed(flag), known.map(dashed)))
  }
}

const dashed = (flag: string) => `${flag.length === 1 ? '-' : '--'}${flag}`

/** No command has run: that is right where help or the like was asked for, and nowhere else. */
function checkNoCommand({ commands }: Program, argv: Readonly<Record<string, unknown>>): void {
  const { _: words, $0: _name, ...flags } = argv
  // A shell that asks for completions has had its answer.
  if (flags.help || flags.version || 'get-yargs-completions' in flags) return
  const names = [...commands.map(({ name }) => name), 'completion']
  const [word] = words as readonly string[]
  if (word === undefined) {
    checkFlags(flags, common)
    throw new UsageError(`name a command: ${names.join(', ')}`)
  }
  if (!names.includes(word) && word !== 'help')
    throw new UsageError(unknownName('command', word, [...names, '--version']))
}

function report({ name, commands }: Program, first: string | undefined, error: unknown): number {
  if (error instanceof UsageError) {
    errorLine(`${name}: ${printable(error.message)}`)
    const command = commands.some((command) => command.name === first) ? `${name} ${first}` : name
    errorLine(`"${command} --help" shows how it is used`)
    return exitCodes.usage
  }
  if (error instanceof OspError && error.code !== 'internal') {
    errorLine(`${name}: ${printable(error.message)}`)
    return error.code === 'usage' ? exitCodes.usage : exitCodeOf(error)
  }
  // A fault of this program: its author needs to know where.
  const text = error instanceof Error ? (!(error instanceof OspError) && error.stack) || error.message : String(error)
  errorLine(`${name}: ${text.split('\n').map(printable).join('\n')}`)
  return exitCodes.failed
}

function version(): string {
  const text = readFileSync(fileURLToPath(import.meta.resolve('ospd/package.json')), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
