import { everywhere } from '../common/everywhere.ts'
import { count, optional, type Values } from '../common/settings.ts'

/** The settings of `osp listen`. */
export const listenSettings = {
  count: optional(count, { alias: 'n', describe: 'end after so many messages' }),
  ...everywhere,
} as const

export type ListenValues = Values<typeof listenSettings>
