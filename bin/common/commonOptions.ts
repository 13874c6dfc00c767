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

/** The defaults of `--retry-for`: for a command whose user waits for the result, and for one that runs unattended. */
export const retryDefaults = { interactive: '10s', unattended: '5m' } as const

const retryText = 'keep retrying for TIME if the server is unreachable or rejects the request temporarily'

/** Defines `--retry-for`. */
export const retryFor = (use: keyof typeof retryDefaults) =>
  setting(duration, retryDefaults[use], { describe: retryText })

/** Defines `--retry-for` of a command whose default depends on `condition`, which makes it run unattended. */
export const retryForUnless = (condition: string) =>
  optional(duration, {
    describe: retryText,
    unset: `${retryDefaults.interactive}; ${condition}: ${retryDefaults.unattended}`,
  })

/** Returns the default of `--retry-for` in milliseconds. */
export const retryDefaultMs = (use: keyof typeof retryDefaults) => duration.schema.parse(retryDefaults[use])

/** The settings that every command of `osp` accepts. */
export const commonOptions = {
  server: setting(serverAddress(6682), '127.0.0.1:6682', { describe: 'address of the ospd server' }),
  tls: switched({ describe: 'connect to the server with TLS' }),
  'tls-ca': optional(pem, {
    describe: 'with --tls: trust only the certificate authority in FILE',
    unset: 'the authorities that Node trusts',
  }),
  fingerprint: optional(fingerprint, {
    describe: 'with --tls: require the server to present the key with this fingerprint, as printed by ospd',
  }),
  'tls-cert': optional(pem, { describe: 'with --tls: present the client certificate in FILE' }),
  'tls-key': optional(pem, { describe: 'private key of --tls-cert' }),
  user: optional({ ...text, placeholder: 'NAME' }, { describe: 'user to log in as', unset: 'the system user name' }),
  state: optional(path, {
    describe: 'directory for tasks, tokens and known servers',
    unset: 'the state directory of the system',
  }),
  'token-file': optional(path, { describe: 'read the token from this file', unset: 'the token stored by osp login' }),
  insecure: switched({ describe: 'send the token even over an unencrypted connection to another machine' }),
  'retry-for': retryFor('unattended'),
  quiet: switched({ alias: 'q', describe: 'print only results and errors' }),
  json: switched({ describe: 'print results as JSON, one object per line (docs/json.md)' }),
} as const

export type CommonOptions = Values<typeof commonOptions>

/** Returns the user that the command logs in as. Throws UsageError if the name is unknown or not allowed. */
export function userOf(values: Pick<CommonOptions, 'user'>): string {
  const user = values.user ?? systemUser()
  if (user === undefined) throw new UsageError('the system has no name for this user; specify --user')
  return userNamed(user, '--user')
}

/** Returns a user name that was given as `what`, in the Unicode form NFC. Throws UsageError if it is not allowed. */
export function userNamed(name: string, what: string): string {
  try {
    // Keyboards and file systems produce other Unicode forms.
    return checkUserName(name.normalize('NFC'))
  } catch (error) {
    if (error instanceof OspError && error.code === 'bad-name') throw new UsageError(`${what}: ${error.message}`)
    throw error
  }
}

/** Returns the name of the user of this process, or `undefined` if the system has none. */
function systemUser(): string | undefined {
  try {
    return userInfo().username
  } catch {
    // The user of a container can be a number without a name.
    return process.env.USER || process.env.LOGNAME
  }
}
