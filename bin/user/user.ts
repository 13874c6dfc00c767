import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { usersFile } from 'ospd/node'
import { type UserList, withClusterUsers } from 'ospd/postgres'
import { databaseUrl } from '../cluster/location.ts'
import { userNamed } from '../common/commonOptions.ts'
import { checkDirectory } from '../common/files.ts'
import { checkStdout, errorLine, results, sayEmpty } from '../common/output.ts'
import { command } from '../common/program.ts'
import { jsonSetting, kind, optionalSetting, resetUnused, setting, switched, type Values } from '../common/settings.ts'
import { printable, shellWord, tableLines } from '../common/text.ts'
import { exitCodes, UsageError, unexpectedOperand, unknownName } from '../common/usage.ts'

const settings = {
  data: setting(kind.path, './ospd-data', 'data directory of the daemon, which may be stopped'),
  cluster: optionalSetting(databaseUrl, 'manage the users of the cluster in this database', 'those in --data'),
  force: switched('with add: accept a name that can be mistaken for that of another user'),
  json: jsonSetting,
} as const

type UserValues = Values<typeof settings>

const verbs = ['add', 'list', 'remove', 'rotate']

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

type Flags = Readonly<Record<string, unknown>>

async function run(values: UserValues, [verb, name, more]: readonly string[], flags: Flags): Promise<number> {
  if (verb === undefined) throw new UsageError(`specify a verb: ${verbs.join(', ')}`)
  if (!verbs.includes(verb)) throw new UsageError(unknownName('verb', verb, verbs))
  const operand = verb === 'list' ? name : more
  if (operand !== undefined) throw unexpectedOperand(`user ${verb}`, operand)
  resetUnused(settings, verb === 'add' ? [] : ['force'], values, flags, `user ${verb} does not take FLAG`)
  if (verb !== 'list' && name === undefined) throw new UsageError(`user ${verb} requires the NAME of a user`)
  if (verb !== 'list' && verb !== 'remove') checkStdout('the token')
  const user = name === undefined ? undefined : userNamed(name, 'NAME')
  const { cluster, data } = values
  checkPlace(values, flags)
  if (cluster !== undefined) return await withClusterUsers(cluster, (users) => change(users, verb, user, values))
  checkDirectory('--data', data, verb === 'add' ? 'make' : 'exists')
  return await change(usersFile(data), verb, user, values)
}

/** Throws UsageError if `--data` was given as a flag although the users of a cluster are managed. */
function checkPlace({ cluster }: UserValues, flags: Flags): void {
  if (cluster === undefined || flags.data === undefined) return
  const source = flags.cluster === undefined ? 'a cluster from OSPD_CLUSTER or --config' : '--cluster'
  throw new UsageError(`--data cannot be used with ${source}: the users of a cluster are in its database`)
}

async function change(users: UserList, verb: string, user: string | undefined, values: UserValues): Promise<number> {
  if (user === undefined) return await list(users, values)
  if (verb === 'add') await add(users, user, values)
  else if (verb === 'rotate') await printToken('rotated', user, await users.rotate(user))
  else {
    await users.remove(user)
    await results.printed({ event: 'removed', user }, `${printable(user)} removed`)
  }
  return exitCodes.done
}

async function add(users: UserList, name: string, { data, cluster, force }: UserValues): Promise<void> {
  const isFirst = !(await users.exists())
  // With `force`, warns of a name that would be rejected without it.
  const token = await users.add(name).catch(async (error: Error) => {
    if (!force) throw error
    const forced = await users.add(name, { force })
    errorLine(`ospd: ${printable(error.message)}`)
    return forced
  })
  await printToken('added', name, token)
  const isTls = cluster === undefined && existsSync(join(data, 'tls'))
  const login = ['osp', 'login', '--server', 'HOST:6682', ...(isTls ? ['--tls'] : []), '--user', shellWord(name)]
  const advice = isTls ? '' : '; add --tls if the server uses TLS'
  errorLine(`ospd: the user logs in with: ${printable(login.join(' '))}${advice}`)
  const place = cluster === undefined ? printable(data) : 'the database'
  if (isFirst) errorLine(`ospd: only the users in ${place} can log in from now on, each with a token`)
}

async function list(users: UserList, { data, cluster }: UserValues): Promise<number> {
  const all = await users.list()
  if (all.length === 0) {
    const at = cluster === undefined ? data : 'the database'
    const reason = (await users.exists())
      ? `the list of users in ${at} is empty: all logins are rejected`
      : `${at} has no list of users; "ospd user add" creates one`
    sayEmpty(reason, { program: 'ospd' })
  }
  const lines = tableLines(all.map(({ name, since }) => [printable(name), `since ${since.toISOString().slice(0, 10)}`]))
  for (const [at, { name, since }] of all.entries()) {
    await results.printed({ event: 'user', user: name, since: since.toISOString() }, lines[at] ?? '')
  }
  return exitCodes.done
}

async function printToken(event: 'added' | 'rotated', user: string, token: string): Promise<void> {
  if (await results.printed({ event, user, token }, token)) return
  errorLine(`ospd: the token could not be printed; run "ospd user rotate ${printable(user)}" for another one`)
}
