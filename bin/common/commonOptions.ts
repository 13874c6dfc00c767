import { userInfo } from 'node:os'
import { checkUserName, OspError } from 'ospd'
import {
  duration,
  fingerprint,
  optional,
  path,
  pem,
  serverAddress,
  setting,
  switched,
  text,
  type Values,
} from './settings.ts'
import { UsageError } from './usage.ts'

/** Defines `--retry-for`: how long a command retries while no server accepts its work. */
export const retryFor = (fallback: string) =>
  setting(duration, fallback, { describe: 'how long to retry if the server is unreachable or refuses' })

/** The default of `--retry-for` for a command whose user waits for the result. */
export const interactiveRetryFor = '10s'

/** The settings that every command of `osp` takes. */
export const commonOptions = {
  server: setting(serverAddress(6682), '127.0.0.1:6682', { describe: 'where ospd is' }),
  tls: switched({ describe: 'speak TLS with the server' }),
  'tls-ca': optional(pem, {
    describe: 'with --tls: the authority that the server is known by [those that Node knows]',
  }),
  fingerprint: optional(fingerprint, { describe: 'with --tls: the key that the server must show, as ospd prints it' }),
  'tls-cert': optional(pem, { describe: 'with --tls: a certificate to show the server …' }),
  'tls-key': optional(pem, { describe: '… and its key' }),
  user: optional({ ...text, placeholder: 'NAME' }, { describe: "who you are [the system's user name]" }),
  state: optional(path, { describe: 'where osp keeps what it has to remember [the place of the system for that]' }),
  'token-file': optional(path, { describe: 'the file that holds your token [the one that osp login keeps]' }),
  insecure: switched({ describe: 'send the token also where others can read it on the way' }),
  'retry-for': retryFor('5m'),
  quiet: switched({ alias: 'q', describe: 'print results and failures alone' }),
  json: switched({ describe: 'print JSON on stdout, one object a line (docs/json.md)' }),
} as const

export type CommonOptions = Values<typeof commonOptions>

/** Who runs the command. Throws UsageError where that is unknown, or nobody's name. */
export function userOf(values: Pick<CommonOptions, 'user'>): string {
  const user = values.user ?? systemUser()
  if (user === undefined) throw new UsageError('the system knows no name for this user; give --user')
  return userNamed(user, '--user')
}

/** A name of a user that was given as `what`. Throws UsageError where it can't be one. */
export function userNamed(name: string, what: string): string {
  try {
    // What is typed on a keyboard is not always in the one form that names have.
    return checkUserName(name.normalize('NFC'))
  } catch (error) {
    if (error instanceof OspError && error.code === 'bad-name') throw new UsageError(`${what}: ${error.message}`)
    throw error
  }
}

/** The name of this process's user, or `undefined` where the system knows none. */
function systemUser(): string | undefined {
  try {
    return userInfo().username
  } catch {
    // A container's user can be a number without a name.
    return process.env.USER || process.env.LOGNAME
  }
}
