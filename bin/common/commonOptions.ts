import { userInfo } from 'node:os'
import { checkUserName } from 'ospd'
import {
  duration,
  fingerprint,
  jsonSetting,
  optionalSetting,
  path,
  pem,
  serverAddress,
  setting,
  switched,
  text,
  type Values,
} from './settings.ts'
import { asUsageError, UsageError } from './usage.ts'

export const retryText = 'keep retrying for TIME if the server is unreachable or rejects the request temporarily'

/** The setting `--retry-for` of a command whose user waits for the result. Other commands run unattended. */
export const shortRetryFor = setting(duration, '10s', { describe: retryText })

/** The settings that every command of `osp` accepts. */
export const commonOptions = {
  server: setting(serverAddress(6682), '127.0.0.1:6682', { describe: 'address of the ospd server' }),
  tls: switched({ describe: 'connect to the server with TLS' }),
  'tls-ca': optionalSetting(pem, {
    describe: 'with --tls: trust only the certificate authority in FILE',
    unset: 'the authorities that Node trusts',
  }),
  fingerprint: optionalSetting(fingerprint, {
    describe: 'with --tls: require the server to present the key with this fingerprint, as printed by ospd',
  }),
  'tls-cert': optionalSetting(pem, { describe: 'with --tls: present the client certificate in FILE' }),
  'tls-key': optionalSetting(pem, { describe: 'private key of --tls-cert' }),
  user: optionalSetting(
    { ...text, placeholder: 'NAME' },
    { describe: 'user to log in as', unset: 'the system user name' },
  ),
  state: optionalSetting(path, {
    describe: 'directory for tasks, tokens and known servers',
    unset: 'the state directory of the system',
  }),
  'token-file': optionalSetting(path, {
    describe: 'read the token from this file',
    unset: 'the token stored by osp login',
  }),
  insecure: switched({ describe: 'send the token even over an unencrypted connection to another machine' }),
  'retry-for': setting(duration, '5m', { describe: retryText }),
  quiet: switched({ alias: 'q', describe: 'print only results and errors' }),
  json: jsonSetting,
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
    return asUsageError(what, error)
  }
}

function systemUser(): string | undefined {
  try {
    return userInfo().username
  } catch {
    // The user of a container can be a number without a name.
    return process.env.USER || process.env.LOGNAME
  }
}
