import { once } from 'node:events'
import { assertTokenAllowed, bindingOf, type Client, OspError, type TokenBinding, type Transport } from 'ospd'
import { checkToken, keptToken, nodePlatform, type SeenServer, type TrustServer } from 'ospd/node'
import { clientTransport, isNewServer, runWithClient, trustFor } from '../common/client.ts'
import { type CommonOptions, commonOptions, shortRetryFor, userOf } from '../common/commonOptions.ts'
import { contextsIn, saveContext } from '../common/context.ts'
import { readInput } from '../common/input.ts'
import { afterDelay, waitingText } from '../common/link.ts'
import { results, say } from '../common/output.ts'
import { command } from '../common/program.ts'
import { secrets } from '../common/secrets.ts'
import { addressText, type Values } from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { controlKeys, onInterrupt, readKeys, signalAll } from '../common/terminal.ts'
import { printable } from '../common/text.ts'
import { assertNotDowngraded, type TokenSource, tokenVariable } from '../common/token.ts'
import { exitCodes } from '../common/usage.ts'

/** This command reads the token from the terminal or stdin. */
const { 'token-file': _, ...others } = commonOptions

const settings = { ...others, 'retry-for': shortRetryFor } as const

/** `osp login`: stores a token. */
export const loginCommand = command({
  name: 'login',
  insteadOfOperand: 'type the token at the prompt, or write it to stdin',
  describe:
    'Store a token for a server after the server has accepted it, and make the server, the user and the TLS settings the ' +
    'current context, which other commands use. The token is typed at the terminal or read from stdin, never given as an ' +
    'argument.',
  settings,
  examples: [
    ['osp login --server files.example:6682', 'prompt for the token'],
    ['osp login < token.txt', 'read the token from a file; a new TLS server requires --fingerprint'],
  ],
  run: (values) => login({ ...values, 'token-file': undefined }),
})

async function login(values: CommonOptions): Promise<number> {
  const directory = openStateDirectory(values)
  const user = userOf(values)
  const server = addressText(values.server)
  // Fails before the user types a token, possibly for the wrong server.
  await assertNotDowngraded(values)
  const confirmed = process.stdin.isTTY ? await confirmServer(values) : values
  if (!confirmed) return exitCodes.interrupted
  const transport = clientTransport(confirmed, trustFor(confirmed, { isGiven: true }))
  const text = await promptToken(`token of ${printable(user)} at ${server}: `)
  if (text === undefined) return exitCodes.interrupted
  secrets.add(text)
  const token: TokenSource = {
    isGiven: true,
    give: async () => ({ token: text, boundTo: 'open' }),
    advice: () => 'the token was not stored',
  }
  /** The binding of the last connection. */
  let boundTo: TokenBinding | undefined
  const to: Transport = {
    ...transport,
    async dial(options, signal) {
      const socket = await transport.dial(options, signal)
      boundTo = bindingOf(socket)
      return socket
    },
  }
  const run = async (client: Client) => {
    await client.online()
    await keptToken(directory).keep(text, boundTo)
    const former = contextsIn(values).load().current
    const context = await saveContext(values)
    results.print({ event: 'logged-in', server, user, context }, `logged in to ${server} as ${printable(user)}`)
    if (former !== undefined && former !== context && !values.quiet) {
      say(`${printable(context)} is the current context now, instead of ${printable(former)}`, 'yellow')
    }
    if (process.env[tokenVariable]) say(`${tokenVariable} is set and overrides the stored token`, 'yellow')
  }
  return await runWithClient(values, { token, to, run })
}

/** Asks to confirm the fingerprint of a new server, and requires it. Resolves with `undefined` after Ctrl-C. */
async function confirmServer(values: CommonOptions): Promise<CommonOptions | undefined> {
  const server = await newServer(values)
  if (!server || values.fingerprint !== undefined) return values
  const { fingerprint } = server
  const place = addressText(server)
  const answer = await promptConfirmation(
    `${place} is not known yet. Its fingerprint is ${fingerprint}\nis this the fingerprint that ospd printed? [y/N] `,
  )
  if (answer === undefined) return undefined
  if (answer) return { ...values, fingerprint }
  throw new OspError('unauthorized', `the fingerprint of ${place} was not confirmed; no token was sent`)
}

/** The minimum time to wait for the server before the command asks for a token. */
const leastShowMs = 10_000

/** Connects without sending anything. Resolves with the server if it is new. Rejects if it must not receive a token. */
async function newServer(values: CommonOptions): Promise<SeenServer | undefined> {
  let found: SeenServer | undefined
  const known = trustFor(values)
  const trust: TrustServer = async (server) => {
    if (values.fingerprint === undefined && (await isNewServer(values, server))) found = server
    else await known(server)
  }
  const server = addressText(values.server)
  const retryForMs = Math.max(leastShowMs, values['retry-for'])
  using _ = afterDelay(() => values.quiet || say(waitingText(server, 'no answer yet', retryForMs), 'yellow'))
  const signal = AbortSignal.timeout(retryForMs)
  try {
    const socket = await clientTransport(values, trust).dial({ platform: nodePlatform(), maxPayload: 0 }, signal)
    assertTokenAllowed('a token', socket, values['allow-plaintext'])
    socket.destroy()
  } catch (error) {
    if (signal.aborted) throw new OspError('timed-out', `${server} did not answer in time`)
    throw error
  }
  return found
}

const { server, user, state, quiet, json } = commonOptions
const logoutSettings = { server, user, state, quiet, json } as const

/** `osp logout`: removes the stored token. */
export const logoutCommand = command({
  name: 'logout',
  insteadOfOperand: 'specify --server and --user',
  describe:
    'Remove the token that osp login has stored for a server. The server is not contacted and continues to accept the token.',
  settings: logoutSettings,
  examples: [['osp logout --server files.example:6682', 'remove the token of this user for this server']],
  run: logout,
})

async function logout(values: Values<typeof logoutSettings>): Promise<number> {
  const removed = await keptToken(openStateDirectory(values)).forget()
  const server = addressText(values.server)
  const user = userOf(values)
  if (removed || values.json) {
    const line = `logged out of ${server} as ${printable(user)}`
    results.print({ event: 'logged-out', server, user, removed }, line)
  } else if (!values.quiet) say(`no token of ${user} for ${server} is stored`, 'yellow')
  return exitCodes.done
}

/** The maximum number of characters that are read. Every token is shorter. */
const mostCharacters = 4_096

/** The length of the longest answer, "yes". */
const shownCharacters = 3

const lineEnd = /[\r\n]/u

const { ctrlC, ctrlZ, ctrlD, ctrlU, backspace, delete: del } = controlKeys

/** Reads a token: typed without echo, or the first line of stdin; `undefined` after Ctrl-C. Rejects with OspError. */
async function promptToken(prompt: string): Promise<string | undefined> {
  const { isTTY } = process.stdin
  const line = await unlessInterrupted((stop) => (isTTY ? typed(prompt, stop) : firstLine(stop.signal)))
  return line === undefined ? undefined : checkToken(line.trim(), isTTY ? 'the typed text' : 'the line on stdin')
}

/** Asks a question at the terminal. Resolves with whether the answer is yes, or with `undefined` after Ctrl-C. */
async function promptConfirmation(question: string): Promise<boolean | undefined> {
  const line = await unlessInterrupted((stop) => typed(question, stop, true))
  return line === undefined ? undefined : /^y(?:es)?$/iu.test(line.trim())
}

async function unlessInterrupted(read: (stop: AbortController) => Promise<string>): Promise<string | undefined> {
  const stop = new AbortController()
  using _ = onInterrupt(() => stop.abort())
  const line = await read(stop)
  return stop.signal.aborted ? undefined : line
}

/** Reads a typed line up to Enter. Echoes the beginning if `isShown`; a longer text can be a token that was pasted too early. */
async function typed(prompt: string, stop: AbortController, isShown = false): Promise<string> {
  const { stdin, stderr } = process
  let line = ''
  const ended = new AbortController()
  const end = () => ended.abort()
  stop.signal.addEventListener('abort', end, { once: true })
  stdin.on('end', end)
  const press = (key: string) => {
    if (ended.signal.aborted) return
    if (lineEnd.test(key) || key === ctrlD) end()
    else if (key === ctrlU) line = ''
    else if (key === backspace || key === del) line = line.slice(0, -1)
    else if (line.length < mostCharacters) line += key
  }
  const read = (text: string) => {
    if (text.includes(ctrlC)) return stop.abort()
    if (text.includes(ctrlZ)) return signalAll('SIGTSTP')
    for (const key of text) press(key)
    if (isShown && !ended.signal.aborted && line.length <= shownCharacters) stderr.write(text.replace(/[^\w ]/gu, ''))
  }
  const keys = readKeys(stdin, read, () => stderr.write(prompt + (isShown ? line.slice(0, shownCharacters) : '')))
  await once(ended.signal, 'abort')
  keys[Symbol.dispose]()
  stderr.write('\n')
  return line
}

/** Returns the first line of stdin. Reads no more than necessary. */
async function firstLine(signal: AbortSignal): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  try {
    for await (const part of readInput(signal)) {
      text += decoder.decode(part, { stream: true })
      if (lineEnd.test(text) || text.length >= mostCharacters) break
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
  return text.split(lineEnd, 1)[0] ?? ''
}
