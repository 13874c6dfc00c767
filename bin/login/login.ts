import { assertTokenAllowed, OspError } from 'ospd'
import { keptToken, nodePlatform, type SeenServer, type TrustServer } from 'ospd/node'
import { clientTransport, isNewServer, trustFor } from '../common/client.ts'
import { type CommandContext, runWithClient } from '../common/commandContext.ts'
import { type CommonOptions, commonOptions, interactiveRetryFor, retryFor, userOf } from '../common/commonOptions.ts'
import type { LoginEvent } from '../common/events.ts'
import { exitCodes } from '../common/exitCodes.ts'
import { afterDelay, waitingText } from '../common/link.ts'
import { errorLine, statusPrinter } from '../common/output.ts'
import { command } from '../common/program.ts'
import { addressText, type Values } from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { printable, stylesFor } from '../common/text.ts'
import { assertNotDowngraded, NewToken, tokenVariable } from '../common/token.ts'
import { UsageError } from '../common/usage.ts'
import { promptConfirmation, promptToken } from './prompt.ts'

/** This is the command that asks for the token. */
const { 'token-file': _, ...others } = commonOptions

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
  const server = addressText(values.server)
  const everything = { ...values, 'token-file': undefined }
  // Before a token is typed in vain, or for the wrong server.
  await assertNotDowngraded(values)
  const confirmed = process.stdin.isTTY ? await confirmedOf(everything) : values
  if (!confirmed) return exitCodes.interrupted
  const way = { ...everything, fingerprint: confirmed.fingerprint }
  const to = clientTransport(way, trustFor(way, { isGiven: true }))
  const token = await promptToken(`token of ${printable(user)} at ${server}: `)
  if (token === undefined) return exitCodes.interrupted
  const given = new NewToken(token)
  const login = async ({ client, results, say }: CommandContext) => {
    await client.online()
    await keptToken(directory).keep(token, given.boundTo)
    const event: LoginEvent = { event: 'logged-in', server, user }
    if (values.json) results.event(event)
    else results.line(`logged in to ${server} as ${printable(user)}`)
    if (process.env[tokenVariable]) say(`${tokenVariable} is set, and goes before the token that is kept`, 'yellow')
  }
  return await runWithClient(everything, { token: given, to, run: login })
}

/**
 * What a server is to be known by that is new, as somebody at the terminal says, unless the settings do; `undefined` if somebody
 * has interrupted it. Rejects with OspError where no token should go there.
 */
async function confirmedOf(values: LoginValues & CommonOptions): Promise<Pick<LoginValues, 'fingerprint'> | undefined> {
  const server = await newServer(values)
  if (!server || values.fingerprint !== undefined) return values
  const { host, port, fingerprint } = server
  const place = addressText({ host, port })
  const answer = await promptConfirmation(
    `${place} is not known yet. It shows ${fingerprint}\nis this the fingerprint that ospd printed? [y/N] `,
  )
  if (answer === undefined) return undefined
  if (answer) return { fingerprint }
  throw new OspError('unauthorized', `${place} is not taken for the right server, and no token was sent`)
}

/** The minimum time to wait for the server before the command asks for a token. */
const leastShowMs = 10_000

/**
 * Connects, and says nothing to the server. Resolves with it where it is new: somebody has to say whether it is the right one.
 * Rejects with OspError where it can't be reached, is not to be trusted, or is no place to send a token to.
 */
async function newServer(values: CommonOptions): Promise<SeenServer | undefined> {
  let found: SeenServer | undefined
  const known = trustFor(values)
  const trust: TrustServer = async (server) => {
    if (values.fingerprint === undefined && (await isNewServer(values, server))) found = server
    else await known(server)
  }
  const server = addressText(values.server)
  const retryForMs = Math.max(leastShowMs, values['retry-for'])
  const say = statusPrinter(errorLine, stylesFor(process.stderr))
  using _ = afterDelay(() => values.quiet || say(waitingText({ server, retryForMs }, 'no answer yet'), 'yellow'))
  const signal = AbortSignal.timeout(retryForMs)
  try {
    const socket = await clientTransport(values, trust).dial({ platform: nodePlatform(), maxPayload: 0 }, signal)
    assertTokenAllowed('a token', socket, values.insecure)
    socket.destroy()
  } catch (error) {
    if (signal.aborted) throw new OspError('timed-out', `${server} has not answered in time`)
    throw error
  }
  return found
}
