import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type UsersFile, usersFile } from 'ospd/node'
import { userNamed } from '../common/commonOptions.ts'
import type { UserEvent } from '../common/events.ts'
import { exitCodes } from '../common/exitCodes.ts'
import { checkDirectory } from '../common/files.ts'
import { checkStdout, errorLine, jsonLine, type ResultOutput, results } from '../common/output.ts'
import { command } from '../common/program.ts'
import { path, setting, switched, type Values } from '../common/settings.ts'
import { fit, printable, shellWord, widthOf } from '../common/text.ts'
import { UsageError, unexpectedOperand, unknownName } from '../common/usage.ts'

const settings = {
  data: setting(path, './ospd-data', { describe: 'the data directory of the daemon, which need not run' }),
  force: switched({ describe: 'with add: add a name also if people could take it for another one' }),
  json: switched({ describe: 'print JSON on stdout, one object a line (docs/json.md)' }),
} as const

type UserValues = Values<typeof settings>

/** What is done to one user. */
const verbs = { add, remove, rotate } as const

const names = ['add', 'list', 'remove', 'rotate']

/** `ospd user`: who may come in. */
export const userCommand = command({
  name: 'user',
  operands: 'add|list|remove|rotate [NAME]',
  describe: 'Say who may come in: "add" and "rotate" print a token, which is told only then.',
  settings,
  examples: [
    ['ospd user add alice', 'prints the token that alice comes in by'],
    ['ospd user rotate alice > token', 'a new token; the former one is void'],
    ['ospd user remove alice', 'ends the links of alice, who does not come in again'],
    ['ospd user list --data /srv/ospd', 'a line a user'],
  ],
  onlyLists: ([verb]) => verb === 'list',
  run,
})

async function run({ data, force, json }: UserValues, operands: readonly string[]): Promise<number> {
  await carryOut({ users: usersFile(data), data, results, json, force }, operands)
  return exitCodes.done
}

async function carryOut(work: Work, [verb, name, more]: readonly string[]): Promise<void> {
  if (verb === undefined) throw new UsageError(`say what to do: ${names.join(', ')}`)
  if (!names.includes(verb)) throw new UsageError(unknownName('verb', verb, names))
  const operand = verb === 'list' ? name : more
  if (operand !== undefined) throw unexpectedOperand(`user ${verb}`, operand)
  if (work.force && verb !== 'add') throw new UsageError(`user ${verb} takes no --force`)
  await checkDirectory('--data', work.data, verb === 'add' ? 'make' : 'exists')
  if (verb === 'list') return await list(work)
  if (name === undefined) throw new UsageError(`user ${verb} takes the NAME of a user`)
  if (verb !== 'remove') checkStdout('the token')
  await verbs[verb as keyof typeof verbs](work, userNamed(name, 'NAME'))
}

/** What a verb of `ospd user` works on, and where it tells what it has done. */
export interface Work {
  readonly users: UsersFile
  /** The data directory, as it was given. */
  readonly data: string
  readonly results: ResultOutput
  readonly json: boolean
  /** Whether to add a name that people could take for another one. */
  readonly force: boolean
}

/** Adds a user, and tells the token. */
async function add(work: Work, name: string): Promise<void> {
  const isFirst = !(await work.users.exists())
  const token = await addName(work, name)
  await tellToken(work, { event: 'added', user: name, token })
  const isTls = existsSync(join(work.data, 'tls'))
  const login = ['osp', 'login', '--server', 'HOST:6682', ...(isTls ? ['--tls'] : []), '--user', shellWord(name)]
  errorLine(
    `ospd: for them to log in: ${printable(login.join(' '))}${isTls ? '' : '; add --tls if the server uses TLS'}`,
  )
  if (isFirst) errorLine(`ospd: from now on only the users of ${printable(work.data)} come in, each by their token`)
}

/** Adds a user. With `--force`, warns of a name that is refused without. */
async function addName({ users, force }: Work, name: string): Promise<string> {
  try {
    return await users.add(name)
  } catch (error) {
    if (!force) throw error
    const token = await users.add(name, { force })
    errorLine(`ospd: ${printable((error as Error).message)}`)
    return token
  }
}

/** Gives a user a new token, and tells it. */
async function rotate(work: Work, name: string): Promise<void> {
  const token = await work.users.rotate(name)
  await tellToken(work, { event: 'rotated', user: name, token })
}

/** Removes a user. */
async function remove(work: Work, name: string): Promise<void> {
  await work.users.remove(name)
  await tell(work, { event: 'removed', user: name }, `${printable(name)} removed`)
}

/** Prints all users, by name. */
async function list(work: Work): Promise<void> {
  const users = await work.users.list()
  if (users.length === 0) errorLine(`ospd: ${await whyNone(work)}`)
  const width = Math.max(0, ...users.map(({ name }) => widthOf(printable(name))))
  for (const { name, since } of users) {
    const at = since.toISOString()
    await tell(
      work,
      { event: 'user', user: name, since: at },
      `${fit(printable(name), width)}  since ${at.slice(0, 10)}`,
    )
  }
}

async function whyNone({ users, data }: Work): Promise<string> {
  const at = printable(data)
  if (await users.exists()) return `the list of users in ${at} is empty: nobody comes in`
  return `${at} has no list of users; "ospd user add" begins one`
}

async function tellToken(work: Work, event: Extract<UserEvent, { token: string }>): Promise<void> {
  if (await tell(work, event, event.token)) return
  errorLine(`ospd: nobody has read the token; "ospd user rotate" makes another one for ${printable(event.user)}`)
}

/** Resolves when the system has taken it, or never will, with whether it has. */
function tell({ results, json }: Work, event: UserEvent, line: string): Promise<boolean> {
  return results.written(json ? jsonLine(event) : line)
}
