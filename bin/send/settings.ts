import { userInfo } from 'node:os'
import {
  count,
  duration,
  oneOf,
  optional,
  path,
  place,
  setting,
  size,
  switched,
  text,
  type Values,
} from '../common/settings.ts'

/** The settings that every command of `osp` takes. */
const everywhere = {
  server: setting(place(6682), '127.0.0.1:6682', { describe: 'where ospd is' }),
  user: optional({ ...text, placeholder: 'NAME' }, { describe: "who sends [the system's user name]" }),
  'retry-for': setting(duration, '5m', { describe: 'how long an unreachable or refusing server is tried' }),
  quiet: switched({ alias: 'q', describe: 'print results and failures alone' }),
  json: switched({ describe: 'print JSON on stdout, one object a line (docs/json.md)' }),
} as const

/** The settings of `osp send`. */
export const sendSettings = {
  recursive: switched({ alias: 'r', describe: 'send what is in folders too' }),
  jobs: setting(count, '5', { alias: 'j', describe: 'files at once at most' }),
  as: optional({ ...text, placeholder: 'NAME' }, { describe: 'the name on the server, for one FILE' }),
  'files-from': optional(path, { describe: 'read names, one a line, from this file as they come; - is stdin' }),
  digest: setting(oneOf('sha256', 'md5', 'xxh128'), 'sha256', { describe: 'what files are verified by' }),
  'limit-rate': optional(size, { describe: 'bytes a second for the whole command at most' }),
  ...everywhere,
} as const

export type SendValues = Values<typeof sendSettings>

/** The name of this process's user, or `undefined` where the system knows none. */
export function systemUser(): string | undefined {
  try {
    return userInfo().username
  } catch {
    // A container's user can be a number without a name.
    return process.env.USER || process.env.LOGNAME
  }
}
