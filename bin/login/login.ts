import { keptToken } from 'ospd/node'
import { type Errand, runErrand } from '../common/errand.ts'
import { everywhere } from '../common/everywhere.ts'
import { exitCodes } from '../common/exitCodes.ts'
import { printable } from '../common/printable.ts'
import { command } from '../common/program.ts'
import { placeText, type Values } from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { GivenToken, tokenVariable } from '../common/token.ts'
import { UsageError } from '../common/usage.ts'
import { userOf } from '../common/userOf.ts'
import type { LoginEvent } from './events.ts'
import { typedToken } from './typedToken.ts'

/** This is the command that asks for the token. */
const { 'token-file': _, ...settings } = everywhere

type LoginValues = Values<typeof settings>

/** `osp login`: keeps a token. */
export const loginCommand = command({
  name: 'login',
  operands: '',
  describe:
    'Keep your token for a server, once it has let you in by it. The token is typed, or stands on stdin; it is no argument.',
  settings,
  examples: [
    ['osp login --server files.example:6682', 'asks for the token'],
    ['osp login < token.txt', 'reads it'],
  ],
  run,
})

async function run(values: LoginValues, operands: readonly string[]): Promise<number> {
  // What was given may be the token: it is not repeated.
  if (operands.length > 0)
    throw new UsageError('login takes no operand: type the token when it asks, or write it to stdin')
  const directory = await openStateDirectory(values)
  const user = userOf(values)
  const server = placeText(values.server)
  const token = await typedToken(`token of ${printable(user)} at ${server}: `)
  if (token === undefined) return exitCodes.interrupted
  const login = async ({ client, results, say }: Errand) => {
    await client.online()
    await keptToken(directory).keep(token)
    const event: LoginEvent = { event: 'logged-in', server, user }
    if (values.json) results.event(event)
    else results.line(`logged in to ${server} as ${printable(user)}`)
    if (process.env[tokenVariable]) say(`${tokenVariable} is set, and goes before the token that is kept`, 'yellow')
  }
  return await runErrand({ ...values, 'token-file': undefined }, { token: new GivenToken(token), run: login })
}
