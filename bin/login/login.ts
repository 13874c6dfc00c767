import { OspError } from 'ospd'
import { keptToken } from 'ospd/node'
import { type Errand, runErrand } from '../common/errand.ts'
import { type Everywhere, everywhere, interactiveRetryFor, retryFor } from '../common/everywhere.ts'
import { exitCodes } from '../common/exitCodes.ts'
import { printable } from '../common/printable.ts'
import { command } from '../common/program.ts'
import { placeText, type Values } from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { assertNotDowngraded, GivenToken, tokenVariable } from '../common/token.ts'
import { transportOf, trustOf } from '../common/transport.ts'
import { UsageError } from '../common/usage.ts'
import { userOf } from '../common/userOf.ts'
import type { LoginEvent } from './events.ts'
import { newServer } from './newServer.ts'
import { typedAnswer, typedToken } from './typedToken.ts'

/** This is the command that asks for the token. */
const { 'token-file': _, ...others } = everywhere

const settings = {
  ...others,
  'retry-for': retryFor(interactiveRetryFor),
} as const

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
    ['osp login < token.txt', 'reads it; of a new server it has to be told the --fingerprint'],
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
  const everything = { ...values, 'token-file': undefined }
  // Before a token is typed in vain, or for the wrong server.
  await assertNotDowngraded(values)
  const confirmed = process.stdin.isTTY ? await confirmedOf(everything) : values
  if (!confirmed) return exitCodes.interrupted
  const way = { ...everything, fingerprint: confirmed.fingerprint }
  const to = transportOf(way, trustOf(way, { isGiven: true }))
  const token = await typedToken(`token of ${printable(user)} at ${server}: `)
  if (token === undefined) return exitCodes.interrupted
  const given = new GivenToken(token)
  const login = async ({ client, results, say }: Errand) => {
    await client.online()
    await keptToken(directory).keep(token, given.boundTo)
    const event: LoginEvent = { event: 'logged-in', server, user }
    if (values.json) results.event(event)
    else results.line(`logged in to ${server} as ${printable(user)}`)
    if (process.env[tokenVariable]) say(`${tokenVariable} is set, and goes before the token that is kept`, 'yellow')
  }
  return await runErrand(everything, { token: given, to, run: login })
}

/**
 * What a server is to be known by that is new, as somebody at the terminal says, unless the settings do; `undefined` if somebody
 * has interrupted it. Rejects with OspError where no token should go there.
 */
async function confirmedOf(values: LoginValues & Everywhere): Promise<Pick<LoginValues, 'fingerprint'> | undefined> {
  const server = await newServer(values)
  if (!server || values.fingerprint !== undefined) return values
  const { host, port, fingerprint } = server
  const place = placeText({ host, port })
  const answer = await typedAnswer(
    `${place} is not known yet. It shows ${fingerprint}\nis this the fingerprint that ospd printed? [y/N] `,
  )
  if (answer === undefined) return undefined
  if (answer) return { fingerprint }
  throw new OspError('unauthorized', `${place} is not taken for the right server, and no token was sent`)
}
