import { userInfo } from 'node:os'
import { checkUserName } from 'ospd'
import { serverPort } from 'ospd/node'
import { jsonSetting, kind, optionalSetting, serverAddress, setting, switched, type Values } from './settings.ts'
import { asUsageError, UsageError } from './usage.ts'

export const retryText = 'keep retrying for TIME if the server is unreachable or rejects the request temporarily'

/** The setting `--retry-for` of a command whose user waits for the result. Other commands run unattended. */
export const shortRetryFor = setting(kind.duration, '10s', retryText)

/** The settings that every command of `osp` accepts. */
export const commonOptions = {
  server: setting(serverAddress, `127.0.0.1:${serverPort}`, 'address of the ospd server'),
  tls: switched('connect to the server with TLS'),
  'tls-ca': optionalSetting(kind.pem, 'with --tls: trust only the CA in FILE', 'the authorities that Node trusts'),
  fingerprint: optionalSetting(
    kind.fingerprint,
    'with --tls: require the server to present the key with this fingerprint, as printed by ospd',
  ),
  'tls-cert': optionalSetting(kind.pem, 'with --tls: present the client certificate in FILE'),
  'tls-key': optionalSetting(kind.pem, 'private key of --tls-cert'),
  user: optionalSetting({ ...kind.text, placeholder: 'NAME' }, 'user to log in as', 'the system user name'),
  state: optionalSetting(kind.path, 'directory for tasks, tokens and known servers', "the system's state directory"),
  'token-file': optionalSetting(kind.path, 'read the token from this file', 'the token stored by osp login'),
  'allow-plaintext': switched('send the token even over an unencrypted connection to another machine'),
  'retry-for': setting(kind.duration, '5m', retryText),
  quiet: switched('print only results and errors', 'q'),
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
