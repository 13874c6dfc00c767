import { assertTokenAllowed, OspError } from 'ospd'
import { keptToken, nodePlatform, type SeenServer, type TrustServer } from 'ospd/node'
import { clientTransport, isNewServer, trustFor } from '../common/client.ts'
import { type CommandContext, runWithClient } from '../common/commandContext.ts'
import { type CommonOptions, commonOptions, retryFor, userOf } from '../common/commonOptions.ts'
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

/** This command reads the token from the terminal or stdin. */
const { 'token-file': _, ...others } = commonOptions

const settings = {
  ...others,
  'retry-for': retryFor('interactive'),
} as const

type LoginValues = Values<typeof settings>

/** `osp login`: stores a token. */
export const loginCommand = command({
  name: 'login',
  operands: '',
  describe:
    'Store a token for a server after the server has accepted it. The token is typed at the terminal or read from stdin, ' +
    'never given as an argument.',
  settings,
  examples: [
    ['osp login --server files.example:6682', 'prompt for the token'],
    ['osp login < token.txt', 'read the token from a file; a new TLS server requires --fingerprint'],
  ],
  run,
})

async function run(values: LoginValues, operands: readonly string[]): Promise<number> {
  // The operand may be the token: the message does not repeat it.
  if (operands.length > 0)
    throw new UsageError('login takes no operand: type the token at the prompt, or write it to stdin')
  const directory = await openStateDirectory(values)
  const user = userOf(values)
  const server = addressText(values.server)
  const withoutFile = { ...values, 'token-file': undefined }
  // Fails before the user types a token, possibly for the wrong server.
  await assertNotDowngraded(values)
  const confirmed = process.stdin.isTTY ? await confirmServer(withoutFile) : values
  if (!confirmed) return exitCodes.interrupted
  const trusted = { ...withoutFile, fingerprint: confirmed.fingerprint }
  const to = clientTransport(trusted, trustFor(trusted, { isGiven: true }))
  const token = await promptToken(`token of ${printable(user)} at ${server}: `)
  if (token === undefined) return exitCodes.interrupted
  const given = new NewToken(token)
  const login = async ({ client, results, say }: CommandContext) => {
    await client.online()
    await keptToken(directory).keep(token, given.boundTo)
    const event: LoginEvent = { event: 'logged-in', server, user }
    if (values.json) results.event(event)
    else results.line(`logged in to ${server} as ${printable(user)}`)
    if (process.env[tokenVariable]) say(`${tokenVariable} is set and overrides the stored token`, 'yellow')
  }
  return await runWithClient(withoutFile, { token: given, to, run: login })
}

/**
 * Asks the user at the terminal to confirm the fingerprint of a new server, unless `--fingerprint` is given. Resolves with
 * the fingerprint to require, or with `undefined` after Ctrl-C. Rejects with OspError if no token should be sent there.
 */
async function confirmServer(
  values: LoginValues & CommonOptions,
): Promise<Pick<LoginValues, 'fingerprint'> | undefined> {
  const server = await newServer(values)
  if (!server || values.fingerprint !== undefined) return values
  const { host, port, fingerprint } = server
  const place = addressText({ host, port })
  const answer = await promptConfirmation(
    `${place} is not known yet. Its fingerprint is ${fingerprint}\nis this the fingerprint that ospd printed? [y/N] `,
  )
  if (answer === undefined) return undefined
  if (answer) return { fingerprint }
  throw new OspError('unauthorized', `the fingerprint of ${place} was not confirmed; no token was sent`)
}

/** The minimum time to wait for the server before the command asks for a token. */
const leastShowMs = 10_000

/**
 * Connects without sending anything. Resolves with the server if it is new, so that the user must confirm it. Rejects with
 * OspError if the server cannot be reached or is not trusted, or if the connection is not safe for a token.
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
    if (signal.aborted) throw new OspError('timed-out', `${server} did not answer in time`)
    throw error
  }
  return found
}
