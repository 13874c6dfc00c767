import { OspError } from 'ospd'
import packageJson from 'ospd/package.json' with { type: 'json' }
import type { Argv } from 'yargs'
import { readCommandLine, settingsOf, typedArguments } from './commandLine.ts'
import { errorLine, readerMs, results, stderr, within } from './output.ts'
import { refuseDatabaseUrl, refuseToken, secrets } from './secrets.ts'
import { type Given, resolve, type Setting, type Settings, type Values, variableOf } from './settings.ts'
import { ignoreHangup } from './terminal.ts'
import { printable } from './text.ts'
import { exitCodeOf, exitCodes, UsageError, unexpectedOperand } from './usage.ts'

/** A command of a program. */
export interface Command<S extends Settings = Settings> {
  readonly name: string
  /** The operands in the help text, such as `FILE...`. A command without it takes no operands. */
  readonly operands?: string
  /** What to do instead of giving an operand, which the error does not repeat, since it can be a token. */
  readonly insteadOfOperand?: string
  /** Set if the operands are paths, which need not be UTF-8. */
  readonly takesPaths?: true
  readonly describe: string
  readonly settings: S
  /** Command lines with their effects. */
  readonly examples: readonly (readonly [line: string, does: string])[]
  /** Returns whether the command only lists with these operands. Then it is not an error if the reader of a pipe stops reading. */
  readonly onlyLists?: (operands: readonly string[]) => boolean
  /** Resolves with the exit code. `flags` has the settings that were given as flags. */
  run(values: Values<S>, operands: readonly string[], flags: Readonly<Record<string, unknown>>): Promise<number>
}

export interface Program {
  readonly name: string
  readonly describe: string
  /** The prefix of the environment variables. */
  readonly prefix: string
  readonly commands: readonly Command[]
  /** Returns values for settings that are not given. */
  readonly defaults?: Given['defaults']
  /** The other program of the package, and the names of its commands. */
  readonly sibling: { readonly name: string; readonly commands: readonly string[] }
}

/** Returns a command for the list of a program, without the types of its settings. */
export function command<S extends Settings>(definition: Command<S>): Command {
  return definition as unknown as Command
}

/** Runs the program with the arguments of this process and sets the exit code. */
export async function main(program: Program): Promise<void> {
  const [first] = process.argv.slice(2)
  secrets.add(process.env.OSP_TOKEN ?? '')
  process.on('uncaughtException', (error) => process.exit(report(program, first, error)))
  ignoreHangup()
  const code = await start(program).catch((error: unknown) => report(program, first, error))
  await leave(program, code)
}

/** Ends the process after its output is written. Results that cannot be written make the command fail. */
async function leave({ name }: Program, code: number): Promise<void> {
  process.exitCode = code
  const isHurried = code === exitCodes.interrupted
  // No time limit, since a reader such as `less` can take long. A signal still ends the process.
  await (isHurried ? within(readerMs, results.drained()) : results.drained())
  if (results.failure !== undefined) errorLine(`${name}: ${results.failure}`)
  if (results.broken.aborted) process.exitCode = code || exitCodes.failed
  await within(readerMs, stderr.drained())
  // Exits at once: Node would first free memory piece by piece, and would wait for a reader of the output.
  process.exit()
}

async function start(program: Program): Promise<number> {
  const args = typedArguments()
  // The completion script passes this flag and the words typed so far.
  if (args[0] === '--get-yargs-completions') return print(await completions(program, args.slice(1)))
  const request = readCommandLine(program, args)
  if (request.asks === 'version') return print(packageJson.version)
  if (request.asks === 'completion') return print(await completionScript(program))
  if (request.asks === 'help') return print(await helpOf(program, request.command))
  const { command, flags, operands } = request
  const known = program.commands.flatMap(({ settings }) => Object.keys(settings))
  const values = resolve(command.settings, {
    flags,
    env: process.env,
    prefix: program.prefix,
    known,
    defaults: program.defaults,
  })
  if (known.includes('cluster')) for (const operand of operands) refuseDatabaseUrl('an argument', operand, true)
  checkOperands(command, operands)
  // Throws if the working directory no longer exists, before a path fails for this reason as if it were missing.
  if (command.takesPaths) process.cwd()
  results.json = values.json === true
  results.onlyLists = command.onlyLists?.(operands) ?? false
  return await command.run(values, operands, flags)
}

/** Throws UsageError if an operand is a token, or if the command takes no operands. */
function checkOperands(command: Command, operands: readonly string[]): void {
  for (const operand of operands) refuseToken('an argument', operand, true)
  const [operand] = operands
  if (operand === undefined || command.operands !== undefined) return
  const { name, insteadOfOperand: instead } = command
  throw instead === undefined
    ? unexpectedOperand(name, operand)
    : new UsageError(`${name} takes no operand: ${instead}`)
}

function print(text: string): number {
  results.onlyLists = true
  results.line(text)
  return exitCodes.done
}

/** Returns the yargs parser that prints help and completes words. `readCommandLine` parses the arguments. */
async function parserOf(program: Program, command?: Command): Promise<Argv> {
  // Loaded here, since most runs of a command need no help text.
  const { default: yargs } = await import('yargs')
  const { name, describe, commands } = program
  const parser = yargs([])
    .scriptName(name)
    .locale('en')
    .exitProcess(false)
    .wrap(Math.min(100, process.stdout.columns ?? 100))
    .parserConfiguration({ 'camel-case-expansion': false, 'dot-notation': false, 'strip-aliased': true })
    .help(false)
    .option('help', { alias: 'h', describe: 'print this help' })
    .version(false)
    .option('version', { describe: 'print the version' })
  if (command) return describeCommand(parser, program, command)
  for (const { name, describe } of commands) parser.command(name, describe.replace(/\. .*$/u, '.'))
  return parser
    .usage(`${name} COMMAND\n\n${describe}`)
    .command('help', 'Print the help for a COMMAND')
    .completion('completion', 'Print a completion script for the shell')
    .epilogue(`Run "${name} COMMAND --help" for the flags of a command.`)
}

async function helpOf(program: Program, command?: Command): Promise<string> {
  const help = await (await parserOf(program, command)).getHelp()
  // yargs prints a digit as a long flag.
  return help.replaceAll(noBreak, ' ').replace(/^ {6}(--[\w-]+), -(-\d) /mu, '  $2, $1      ')
}

/** Returns the possible next words after `words`, one on each line. */
async function completions(program: Program, words: readonly string[]): Promise<string> {
  const command = program.commands.find(({ name }) => words.includes(name))
  return (await (await parserOf(program, command)).getCompletion([...words])).join('\n')
}

async function completionScript(program: Program): Promise<string> {
  const parser = await parserOf(program)
  return new Promise((resolve) => void parser.parse(['completion'], {}, (_error, _argv, output) => resolve(output)))
}

function describeCommand(parser: Argv, { name, prefix }: Program, command: Command): Argv {
  const line = [name, command.name, command.operands].filter(Boolean).join(' ')
  parser.usage(`${line} [flags]\n\n${command.describe}`)
  for (const [flag, setting] of Object.entries(settingsOf(command))) parser.option(flag, flagOf(setting))
  for (const [line, does] of command.examples) parser.example(line, does)
  const variable = variableOf(prefix, Object.keys(command.settings)[0] ?? 'config')
  return parser.epilogue(
    `Each flag can also be set with an environment variable (${variable}) or a key in the --config file. A flag overrides ` +
      'a variable, which overrides the file. SIZE: bytes, or 500k, 10M, 2G (k = 1024). TIME: 500ms, 30s, 5m, 2h, 7d.',
  )
}

/** A space at which yargs does not break a line. */
const noBreak = '\u00a0'

function flagOf({ describe, alias, placeholder, fallback, unset }: Setting<unknown>) {
  const short = alias === undefined ? {} : { alias }
  // Without a type, which yargs would print after the description.
  if (placeholder === undefined) return { ...short, describe }
  const standard = unset ?? fallback
  const shown = standard === undefined ? '' : ` [default:${noBreak}${standard}]`
  // yargs prints no placeholder for a value.
  return { ...short, describe: `${placeholder}: ${describe}${shown}`, requiresArg: true }
}

/** Prints an error that ends the program. Returns the exit code. */
function report({ name, prefix, commands }: Program, first: string | undefined, error: unknown): number {
  const cause = rootOf(error)
  const message = messageOf(error, cause)
  const isOwn = error instanceof OspError && error.code !== 'internal'
  if (!isOwn && isBug(cause)) {
    const variable = `${prefix}_DEBUG`
    const bug = `this is a bug in ${name} ${packageJson.version}: ${printable(message)}`
    errorLine(`${name}: ${bug} (${variable}=1 prints the stack trace)`)
    const stack = (cause instanceof Error && cause.stack) || String(cause)
    if (process.env[variable]) errorLine(stack.split('\n').map(printable).join('\n'))
    return exitCodes.failed
  }
  errorLine(`${name}: ${printable(message)}`)
  if (error instanceof UsageError) {
    const command = commands.some((command) => command.name === first) ? `${name} ${first}` : name
    errorLine(`run "${command} --help" for its usage`)
    return exitCodes.usage
  }
  if (!isOwn) return exitCodes.failed
  return error.code === 'usage' ? exitCodes.usage : exitCodeOf(error)
}

function messageOf(error: unknown, cause: unknown): string {
  if ((cause as Partial<NodeJS.ErrnoException> | undefined)?.syscall === 'uv_cwd') {
    return 'the working directory no longer exists; change to another one'
  }
  return error instanceof Error ? error.message : String(error)
}

const rootOf = (error: unknown): unknown =>
  error instanceof OspError && error.cause !== undefined ? rootOf(error.cause) : error

/** Returns whether an error is a bug. System and database errors have a code; Node's ERR_ codes report wrong calls. */
function isBug(cause: unknown): boolean {
  if (cause instanceof OspError || cause instanceof UsageError) return false
  const { code = 'ERR_' } = cause instanceof Error ? (cause as NodeJS.ErrnoException) : {}
  return code.startsWith('ERR_')
}
