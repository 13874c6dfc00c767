import { usersFile } from 'ospd/node'
import { exitCodes } from '../common/exitCodes.ts'
import { checkDirectory } from '../common/files.ts'
import { unknownName } from '../common/nearest.ts'
import { checkStdout, results } from '../common/output.ts'
import { command } from '../common/program.ts'
import { path, setting, switched, type Values } from '../common/settings.ts'
import { surplus, UsageError } from '../common/usage.ts'
import { userNamed } from '../common/userOf.ts'
import { add, list, remove, rotate, type Work } from './verbs.ts'

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
  if (operand !== undefined) throw surplus(`user ${verb}`, operand)
  if (work.force && verb !== 'add') throw new UsageError(`user ${verb} takes no --force`)
  await checkDirectory('--data', work.data, verb === 'add' ? 'make' : 'exists')
  if (verb === 'list') return await list(work)
  if (name === undefined) throw new UsageError(`user ${verb} takes the NAME of a user`)
  if (verb !== 'remove') checkStdout('the token')
  await verbs[verb as keyof typeof verbs](work, userNamed(name, 'NAME'))
}
