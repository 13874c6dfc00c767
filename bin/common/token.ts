import { stat } from 'node:fs/promises'
import type { OspError } from 'ospd'
import { checkToken, keptToken, readToken } from 'ospd/node'
import type { Everywhere } from './everywhere.ts'
import { checkReadable } from './files.ts'
import { shellWord } from './printable.ts'
import { placeText } from './settings.ts'
import { stateDirectoryOf, usersWithToken } from './stateDirectory.ts'
import { UsageError } from './usage.ts'
import { userOf } from './userOf.ts'

/** Where the token of a command can come from instead of what `osp login` has kept. */
export const tokenVariable = 'OSP_TOKEN'

type From = 'file' | 'variable' | 'kept' | 'nowhere'

type TokenValues = Pick<
  Everywhere,
  'server' | 'tls' | 'tls-ca' | 'tls-cert' | 'tls-key' | 'user' | 'state' | 'token-file'
>

/** What a command lets itself in by. */
export interface TokenSource {
  /** The token, empty where there is none. Rejects with OspError where what there is can't be used. */
  readonly give: () => Promise<string>
  /** Whether the latest one is a token. */
  readonly isGiven: boolean
  /** The server has the latest one from now on, and what refuses the user is the server. */
  reached(): void
  /** What somebody can do about it whom the server does not let in; nothing where it was not the server that refused. */
  advice(why: OspError): string | undefined
}

/** A token as `ospd user` gives it out. */
const token = /osp_[\w-]{43}/u

/**
 * Gives a command's token, read anew for each link, so that one which was replaced meanwhile is taken: from the file of
 * `--token-file`, else from `OSP_TOKEN`, else the one that `osp login` has kept for this user at this server, else none.
 * Throws UsageError where a token itself was given in the place of the file.
 */
export class SetToken implements TokenSource {
  readonly #values: TokenValues
  /** What a pipe says: it says it once. */
  #piped: Promise<string> | undefined
  /** Where the latest one was from; `undefined` where there was none to be had. */
  #from: From | undefined
  #reached = false

  constructor(values: TokenValues) {
    this.#values = values
    const { 'token-file': file } = values
    if (file !== undefined && token.test(file)) {
      throw new UsageError('--token-file takes the path of a file that holds the token, never the token itself')
    }
    if (file !== undefined) checkReadable('--token-file', file)
  }

  readonly give = async (): Promise<string> => {
    this.#from = undefined
    this.#reached = false
    const { 'token-file': file } = this.#values
    const variable = process.env[tokenVariable]
    if (file !== undefined) return this.#is('file', await this.#read(file))
    if (variable) return this.#is('variable', checkToken(variable, tokenVariable))
    const kept = await keptToken(stateDirectoryOf(this.#values, userOf(this.#values))).load()
    return kept === undefined ? this.#is('nowhere', '') : this.#is('kept', kept)
  }

  get isGiven(): boolean {
    return this.#from !== undefined && this.#from !== 'nowhere'
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

  #tokenAdvice(from: From): string {
    if (from === 'variable') return `the token came from ${tokenVariable}`
    if (from === 'file') return `the token came from ${this.#values['token-file']}`
    if (from === 'kept') return `the token was the stored one; to store another one, run ${loginLine(this.#values)}`
    const others = this.#values.user === undefined ? usersWithToken(this.#values) : []
    if (others.length > 0)
      return `no token was sent; you are logged in there as ${others.join(', ')}: give --user ${others[0]}`
    return `no token was sent; if you have one for this server, run ${loginLine(this.#values)}`
  }

  #is(from: From, token: string): string {
    this.#from = from
    return token
  }

  async #read(path: string): Promise<string> {
    // Reading tells what is wrong with a path that leads nowhere.
    const found = await stat(path).catch(() => undefined)
    if (found?.isFile() ?? true) return await readToken(path)
    this.#piped ??= readToken(path)
    return await this.#piped
  }
}

/** How this user logs in at this server. */
function loginLine(values: TokenValues): string {
  const { server, tls, state } = values
  const words = ['osp', 'login', '--server', placeText(server)]
  if (tls) words.push('--tls')
  for (const name of ['tls-ca', 'tls-cert', 'tls-key'] as const) words.push(...flag(name, values[name]))
  words.push('--user', userOf(values))
  words.push(...flag('state', state))
  return words.map(shellWord).join(' ')
}

const flag = (name: string, value: string | undefined) => (value === undefined ? [] : [`--${name}`, value])

/** A token that is to be kept if the server lets the user in by it. */
export class GivenToken implements TokenSource {
  readonly isGiven = true
  readonly give: () => Promise<string>
  #reached = false

  constructor(token: string) {
    this.give = async () => token
  }

  reached(): void {
    this.#reached = true
  }

  advice({ code }: OspError): string | undefined {
    return code === 'unauthorized' && this.#reached ? 'this token is not kept' : undefined
  }
}
