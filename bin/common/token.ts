import { stat } from 'node:fs/promises'
import { type BoundToken, bindingOf, OspError, type Socket, type TokenBinding } from 'ospd'
import { checkToken, keptToken, knownServer, readToken } from 'ospd/node'
import { knownServersPath } from './client.ts'
import type { CommonOptions } from './commonOptions.ts'
import { userOf } from './commonOptions.ts'
import { checkReadable } from './files.ts'
import { secrets } from './secrets.ts'
import { addressText } from './settings.ts'
import { stateDirectoryOf, usersWithToken } from './stateDirectory.ts'
import { shellWord } from './text.ts'

/** Where the token of a command can come from instead of what `osp login` has kept. */
export const tokenVariable = 'OSP_TOKEN'

type TokenOrigin = 'file' | 'variable' | 'kept' | 'nowhere'

type TokenValues = Pick<
  CommonOptions,
  'server' | 'tls' | 'tls-ca' | 'tls-cert' | 'tls-key' | 'user' | 'state' | 'token-file'
>

/** What a command lets itself in by. */
export interface TokenSource {
  /** The token, empty where there is none. Rejects with OspError where what there is can't be used. */
  readonly give: () => Promise<BoundToken>
  /** Whether the latest one is a token, or may become one. */
  readonly isGiven: boolean
  /** The latest one may be sent over this connection, and what refuses the user from now on is the server. */
  reached(socket: Socket): void
  /** What somebody can do about it whom the server does not let in; nothing where it was not the server that refused. */
  advice(why: OspError): string | undefined
}

/**
 * Gives a command's token, read anew for each link, so that one which was replaced meanwhile is taken: from the file of
 * `--token-file`, else from `OSP_TOKEN`, else the one that `osp login` has kept for this user at this server, else none.
 */
export class ConfiguredToken implements TokenSource {
  readonly #values: TokenValues
  /** What a pipe says: it says it once. */
  #piped: Promise<BoundToken> | undefined
  /** Where the latest one was from; `undefined` where there was none to be had. */
  #from: TokenOrigin | undefined
  #reached = false

  constructor(values: TokenValues) {
    this.#values = values
    const { 'token-file': file } = values
    if (file !== undefined) checkReadable('--token-file', file)
  }

  readonly give = async (): Promise<BoundToken> => {
    this.#from = undefined
    this.#reached = false
    const { 'token-file': file } = this.#values
    const variable = process.env[tokenVariable]
    const [from, given] = await this.#find(file, variable)
    this.#from = from
    secrets.add(given.token)
    if (given.token !== '') await assertNotDowngraded(this.#values)
    return given
  }

  get isGiven(): boolean {
    return this.#from !== 'nowhere'
  }

  async #find(file: string | undefined, variable: string | undefined): Promise<[TokenOrigin, BoundToken]> {
    if (file !== undefined) return ['file', unlessBound(await this.#read(file), 'open')]
    if (variable) return ['variable', { token: checkToken(variable, tokenVariable), boundTo: 'open' }]
    const kept = await keptToken(stateDirectoryOf(this.#values, userOf(this.#values))).load()
    if (kept === undefined) return ['nowhere', { token: '', boundTo: 'open' }]
    const known = await knownServer(knownServersPath(this.#values), this.#values.server)
    const former = known?.pin?.isFormer ? (known.pin.fingerprint as TokenBinding) : 'unrecorded'
    return ['kept', unlessBound(kept, former)]
  }

  reached(): void {
    this.#reached = true
  }

  /** Describes the token that was sent. The server gives the reason, which may have nothing to do with the token. */
  advice({ code }: OspError): string | undefined {
    if (code !== 'unauthorized' || !this.#reached || this.#from === undefined) return undefined
    const { 'tls-cert': certificate } = this.#values
    const name =
      certificate === undefined
        ? ''
        : `; ${certificate} is valid only for the user that it names; give that user as --user`
    return this.#tokenAdvice(this.#from) + name
  }

  #tokenAdvice(from: TokenOrigin): string {
    if (from === 'variable') return `the token came from ${tokenVariable}`
    if (from === 'file') return `the token came from ${this.#values['token-file']}`
    if (from === 'kept') return `the token was the stored one; to store another one, run ${loginLine(this.#values)}`
    const others = this.#values.user === undefined ? usersWithToken(this.#values) : []
    if (others.length > 0)
      return `no token was sent; you are logged in there as ${others.join(', ')}: give --user ${others[0]}`
    return `no token was sent; if you have one for this server, run ${loginLine(this.#values)}`
  }

  async #read(path: string): Promise<BoundToken> {
    // Reading tells what is wrong with a path that leads nowhere.
    const found = await stat(path).catch(() => undefined)
    if (found?.isFile() ?? true) return await readToken(path)
    this.#piped ??= readToken(path)
    return await this.#piped
  }
}

/** The token with this binding if it was stored without one. */
const unlessBound = ({ token, boundTo }: BoundToken, other: TokenBinding): BoundToken => ({
  token,
  boundTo: boundTo === 'unrecorded' ? other : boundTo,
})

/** Rejects with OspError `unauthorized` if a token would go without TLS to a server that was verified by TLS before. */
export async function assertNotDowngraded(values: Pick<CommonOptions, 'server' | 'tls' | 'state'>): Promise<void> {
  if (values.tls) return
  const path = knownServersPath(values)
  const known = await knownServer(path, values.server)
  if (!known) return
  const { pin, authorityLine } = known
  const lines = [pin?.line, authorityLine].filter((line) => line !== undefined)
  const how = authorityLine === undefined ? `its key ${pin?.fingerprint}` : 'the certificate of an authority'
  throw new OspError(
    'unauthorized',
    `the token was not sent to ${addressText(values.server)}: the server there was verified by ${how} before, and without TLS ` +
      'another program can pose as it; give --tls. Only if the operator confirms that it has no TLS any more, remove ' +
      `line ${lines.join(' and ')} of ${path} and log in again (osp login)`,
  )
}

/** How this user logs in at this server. */
function loginLine(values: TokenValues): string {
  const { server, tls, state } = values
  const words = ['osp', 'login', '--server', addressText(server)]
  if (tls) words.push('--tls')
  for (const name of ['tls-ca', 'tls-cert', 'tls-key'] as const) words.push(...flag(name, values[name]))
  words.push('--user', userOf(values))
  words.push(...flag('state', state))
  return words.map(shellWord).join(' ')
}

const flag = (name: string, value: string | undefined) => (value === undefined ? [] : [`--${name}`, value])

/** A token that is to be kept if the server lets the user in by it. */
export class NewToken implements TokenSource {
  readonly isGiven = true
  readonly give: () => Promise<BoundToken>
  #boundTo: TokenBinding | undefined

  constructor(token: string) {
    secrets.add(token)
    this.give = async () => ({ token, boundTo: 'open' })
  }

  /** The binding of the token to the connection that it was sent over; `undefined` if it was not sent. */
  get boundTo(): TokenBinding | undefined {
    return this.#boundTo
  }

  reached(socket: Socket): void {
    this.#boundTo = bindingOf(socket)
  }

  advice({ code }: OspError): string | undefined {
    return code === 'unauthorized' && this.#boundTo !== undefined ? 'this token is not kept' : undefined
  }
}
