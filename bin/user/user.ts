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
  data: setting(path, './ospd-data', { describe: 'data directory of the daemon, which may be stopped' }),
  force: switched({ describe: 'with add: accept a name that can be mistaken for that of another user' }),
  json: switched({ describe: 'print results as JSON, one object per line (docs/json.md)' }),
} as const

type UserValues = Values<typeof settings>

/** The verbs that change one user. */
const verbs = { add, remove, rotate } as const

const names = ['add', 'list', 'remove', 'rotate']

/** `ospd user`: manages the users of a server. */
export const userCommand = command({
  name: 'user',
  operands: 'add|list|remove|rotate [NAME]',
  describe: 'Manage the users of a server. "add" and "rotate" print a token, which cannot be displayed again.',
  settings,
  examples: [
    ['ospd user add alice', 'print a token with which alice can log in'],
    ['ospd user rotate alice > token', 'replace the token of alice'],
    ['ospd user remove alice', 'close the connections of alice and reject later logins'],
    ['ospd user list --data /srv/ospd', 'print one user per line'],
  ],
  onlyLists: ([verb]) => verb === 'list',
  run,
})

async function run({ data, force, json }: UserValues, operands: readonly string[]): Promise<number> {
  await carryOut({ users: usersFile(data), data, results, json, force }, operands)
  return exitCodes.done
}

async function carryOut(work: Work, [verb, name, more]: readonly string[]): Promise<void> {
  if (verb === undefined) throw new UsageError(`specify a verb: ${names.join(', ')}`)
  if (!names.includes(verb)) throw new UsageError(unknownName('verb', verb, names))
  const operand = verb === 'list' ? name : more
  if (operand !== undefined) throw unexpectedOperand(`user ${verb}`, operand)
  if (work.force && verb !== 'add') throw new UsageError(`user ${verb} does not take --force`)
  await checkDirectory('--data', work.data, verb === 'add' ? 'make' : 'exists')
  if (verb === 'list') return await list(work)
  if (name === undefined) throw new UsageError(`user ${verb} requires the NAME of a user`)
  if (verb !== 'remove') checkStdout('the token')
  await verbs[verb as keyof typeof verbs](work, userNamed(name, 'NAME'))
}

/** The input and output of a verb. */
export interface Work {
  readonly users: UsersFile
  /** The data directory as it was given. */
  readonly data: string
  readonly results: ResultOutput
  readonly json: boolean
  /** Whether to add a name that can be mistaken for that of another user. */
  readonly force: boolean
}

/** Adds a user and prints the token. */
async function add(work: Work, name: string): Promise<void> {
  const isFirst = !(await work.users.exists())
  const token = await addName(work, name)
  await printToken(work, { event: 'added', user: name, token })
  const isTls = existsSync(join(work.data, 'tls'))
  const login = ['osp', 'login', '--server', 'HOST:6682', ...(isTls ? ['--tls'] : []), '--user', shellWord(name)]
  errorLine(
    `ospd: the user logs in with: ${printable(login.join(' '))}${isTls ? '' : '; add --tls if the server uses TLS'}`,
  )
  if (isFirst) errorLine(`ospd: only the users in ${printable(work.data)} can log in from now on, each with a token`)
}

/** Adds a user. With `--force`, warns of a name that would be rejected without it. */
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

/** Replaces the token of a user and prints it. */
async function rotate(work: Work, name: string): Promise<void> {
  const token = await work.users.rotate(name)
  await printToken(work, { event: 'rotated', user: name, token })
}

/** Removes a user. */
async function remove(work: Work, name: string): Promise<void> {
  await work.users.remove(name)
  await print(work, { event: 'removed', user: name }, `${printable(name)} removed`)
}

/** Prints all users, sorted by name. */
async function list(work: Work): Promise<void> {
  const users = await work.users.list()
  if (users.length === 0) errorLine(`ospd: ${await emptyReason(work)}`)
  const width = Math.max(0, ...users.map(({ name }) => widthOf(printable(name))))
  for (const { name, since } of users) {
    const at = since.toISOString()
    await print(
      work,
      { event: 'user', user: name, since: at },
      `${fit(printable(name), width)}  since ${at.slice(0, 10)}`,
    )
  }
}

async function emptyReason({ users, data }: Work): Promise<string> {
  const at = printable(data)
  if (await users.exists()) return `the list of users in ${at} is empty: all logins are rejected`
  return `${at} has no list of users; "ospd user add" creates one`
}

async function printToken(work: Work, event: Extract<UserEvent, { token: string }>): Promise<void> {
  if (await print(work, event, event.token)) return
  errorLine(`ospd: the token could not be printed; run "ospd user rotate ${printable(event.user)}" for another one`)
}

/** Resolves with whether the system has accepted the line. */
function print({ results, json }: Work, event: UserEvent, line: string): Promise<boolean> {
  return results.written(json ? jsonLine(event) : line)
}
