import { everywhere } from '../common/everywhere.ts'
import { count, oneOf, optional, path, setting, size, switched, text, type Values } from '../common/settings.ts'

/** The settings of `osp send`. */
export const sendSettings = {
  recursive: switched({ alias: 'r', describe: 'send what is in folders too' }),
  jobs: setting(count, '5', { alias: 'j', describe: 'files at once at most' }),
  as: optional({ ...text, placeholder: 'NAME' }, { describe: 'the name on the server, for one FILE' }),
  'files-from': optional(path, { describe: 'read names, one on each line, from this file as they arrive; - is stdin' }),
  from0: switched({ alias: '0', describe: 'names in --files-from end with NUL, as find -print0 writes them' }),
  digest: setting(oneOf('sha256', 'md5', 'xxh128'), 'sha256', { describe: 'what files are verified by' }),
  'limit-rate': optional(size, { describe: 'bytes a second for the whole command at most' }),
  ...everywhere,
} as const

export type SendValues = Values<typeof sendSettings>
