import type { Opening } from '../target.ts'
import { frameTarget } from './frame.ts'
import { journalTarget } from './journal.ts'
import { messageTarget } from './message.ts'
import { namesTarget } from './names.ts'
import { recordsTarget } from './records.ts'

/** What can be fuzzed, by name. */
export const targets = {
  frame: frameTarget,
  journal: journalTarget,
  message: messageTarget,
  names: namesTarget,
  records: recordsTarget,
} as const satisfies Record<string, Opening>

export type TargetName = keyof typeof targets
