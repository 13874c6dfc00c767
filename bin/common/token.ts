import { stat } from 'node:fs/promises'
import { type BoundToken, OspError, type TokenBinding } from 'ospd'
import { checkToken, keptToken, knownServer, readToken } from 'ospd/node'
import { type CommonOptions, userOf } from './commonOptions.ts'
import { contextsIn } from './context.ts'
import { checkReadable } from './files.ts'
import { secrets } from './secrets.ts'
import { addressText } from './settings.ts'
import { knownServersPath, stateDirectoryOf, usersWithToken } from './stateDirectory.ts'
import { shellWord } from './text.ts'

/** The environment variable that overrides the token stored by `osp login`. */
export const tokenVariable = 'OSP_TOKEN'

type TokenOrigin = 'file' | 'variable' | 'stored' | 'none'

/** Provides the token that a command logs in with. */
export interface TokenSource {
  /** Resolves with the token, which is empty if there is none. Rejects with OspError if the token is not valid. */
  readonly give: () => Promise<BoundToken>
  /** Whether the last call of `give` resolved with a token, or has not resolved yet. */
  readonly isGiven: boolean
  /** Returns what to do after the server has rejected the token. */
  advice(): string | undefined
}

/** Provides the token of `--token-file`, `OSP_TOKEN` or `osp login`, in this order, anew for each connection. */
export class ConfiguredToken implements TokenSource {
  readonly #values: CommonOptions
  /** The content of a pipe, which can be read only once. */
  #piped: Promise<BoundToken> | undefined
  /** The origin of the last token; `undefined` if reading it failed. */
  #from: TokenOrigin | undefined

  constructor(values: CommonOptions) {
    this.#values = values
    const { 'token-file': file } = values
    if (file !== undefined) checkReadable('--token-file', file)
  }

  readonly give = async (): Promise<BoundToken> => {
    this.#from = undefined
    const [from, given] = await this.#find()
    this.#from = from
    secrets.add(given.token)
    if (given.token !== '') await assertNotDowngraded(this.#values)
    return given
  }

  get isGiven(): boolean {
    return this.#from !== 'none'
  }

  async #find(): Promise<[TokenOrigin, BoundToken]> {
    const { 'token-file': file } = this.#values
    const variable = process.env[tokenVariable]
    if (file !== undefined) return ['file', withBinding(await this.#read(file), 'open')]
    if (variable) return ['variable', { token: checkToken(variable, tokenVariable), boundTo: 'open' }]
    const kept = await keptToken(stateDirectoryOf(this.#values, userOf(this.#values))).load()
    if (kept === undefined) return ['none', { token: '', boundTo: 'open' }]
    const known = await knownServer(knownServersPath(this.#values), this.#values.server)
    const former = known?.pin?.isFormer ? (known.pin.fingerprint as TokenBinding) : 'unrecorded'
    return ['stored', withBinding(kept, former)]
  }

  /** Describes the token that was sent. The server gives the reason, which may have nothing to do with the token. */
  advice(): string | undefined {
    if (this.#from === undefined) return undefined
    const { 'tls-cert': certificate } = this.#values
    const advice = this.#tokenAdvice(this.#from)
    if (certificate === undefined) return advice
    return `${advice}; ${certificate} is valid only for the user that it names: specify that user with --user`
  }

  #tokenAdvice(from: TokenOrigin): string {
    const values = this.#values
    if (from === 'variable') return `the token came from ${tokenVariable}`
    if (from === 'file') return `the token came from ${values['token-file']}`
    if (from === 'stored') return `the stored token was sent; to store another one, run ${loginLine(values)}`
    const [other, ...more] = values.user === undefined ? usersWithToken(values) : []
    if (other === undefined) return `no token was sent; if you have a token for this server, run ${loginLine(values)}`
    return `no token was sent; tokens are stored for ${[other, ...more].join(', ')}: specify --user ${other}`
  }

  async #read(path: string): Promise<BoundToken> {
    // If the path does not exist, reading reports the reason.
    const found = await stat(path).catch(() => undefined)
    if (found?.isFile() ?? true) return await readToken(path)
    this.#piped ??= readToken(path)
    return await this.#piped
  }
}

/** Returns the token with this binding if it was stored without one. */
const withBinding = ({ token, boundTo }: BoundToken, other: TokenBinding): BoundToken => ({
  token,
  boundTo: boundTo === 'unrecorded' ? other : boundTo,
})

/** Rejects with OspError `unauthorized` if a token would go without TLS to a server that was verified by TLS before. */
export async function assertNotDowngraded(values: CommonOptions): Promise<void> {
  if (values.tls) return
  const path = knownServersPath(values)
  const known = await knownServer(path, values.server)
  if (!known) return
  const { pin, authorityLine } = known
  const lines = [pin?.line, authorityLine].filter((line) => line !== undefined)
  const how = authorityLine === undefined ? `its key ${pin?.fingerprint}` : 'a certificate authority'
  throw new OspError(
    'unauthorized',
    `the token was not sent to ${addressText(values.server)}: the server was previously verified by ${how}, and without TLS ` +
      'another program can impersonate it; specify --tls. Only if the operator confirms that the server no longer uses ' +
      `TLS, remove line ${lines.join(' and ')} of ${path} and log in again (osp login)`,
  )
}

const loginLine = (values: CommonOptions) => commandLineOf('login', values)

/** Returns a command with the flags for the same server, user and state directory, except those that the current context sets. */
export function commandLineOf(command: string, values: CommonOptions, more: readonly string[] = []): string {
  const user = userOf(values)
  const server = addressText(values.server)
  const { current, all } = contextsIn(values).load()
  const context = command === 'login' || current === undefined ? undefined : all.get(current)
  const isCurrent = context?.server === server && context.user === user && context.tls === values.tls
  const words = ['osp', command]
  if (!isCurrent) words.push('--server', server, ...(values.tls ? ['--tls'] : []))
  const flags = isCurrent ? { state: values.state } : { ...values, user }
  for (const name of ['tls-ca', 'tls-cert', 'tls-key', 'user', 'state'] as const) {
    const value = (flags as Partial<CommonOptions>)[name]
    if (value !== undefined) words.push(`--${name}`, value)
  }
  return [...words, ...more].map(shellWord).join(' ')
}
