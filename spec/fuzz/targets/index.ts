import type { Opening } from '../target.ts'
import { configTarget } from './config.ts'
import { controlTarget } from './control.ts'
import { frameTarget } from './frame.ts'
import { journalTarget } from './journal.ts'
import { messageTarget } from './message.ts'
import { namesTarget } from './names.ts'
import { proxyTarget } from './proxy.ts'
import { recordsTarget } from './records.ts'
import { serverTarget } from './server.ts'
import { stateTarget } from './state.ts'
import { usersTarget } from './users.ts'

/** The fuzz targets by name. */
export const targets = {
  config: configTarget,
  control: controlTarget,
  frame: frameTarget,
  journal: journalTarget,
  message: messageTarget,
  names: namesTarget,
  proxy: proxyTarget,
  records: recordsTarget,
  server: serverTarget,
  state: stateTarget,
  users: usersTarget,
} as const satisfies Record<string, Opening>

export type TargetName = keyof typeof targets
