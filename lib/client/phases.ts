import { machine } from '../core/machine.ts'

/** What becomes of an upload on the client. It waits for its turn, for the link, or for a refusal to pass. */
export const uploadPhases = machine({
  waiting: { turn: 'sending', pause: 'paused', cancel: 'cancelling', fail: 'failed' },
  sending: { stall: 'waiting', verify: 'verifying', pause: 'paused', cancel: 'cancelling', fail: 'failed' },
  verifying: {
    again: 'sending',
    stall: 'waiting',
    stored: 'done',
    pause: 'paused',
    cancel: 'cancelling',
    fail: 'failed',
  },
  paused: { resume: 'waiting', cancel: 'cancelling' },
  cancelling: { cancelled: 'cancelled', stored: 'done', fail: 'failed' },
  cancelled: {},
  failed: {},
  done: {},
})

export type UploadPhase = keyof typeof uploadPhases.table
