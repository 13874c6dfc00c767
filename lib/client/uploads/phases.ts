import { machine } from '../../core/machine.ts'

/**
 * What becomes of an upload on the client. It waits for its turn, for the link, or for a refusal to pass. The server can
 * have stored it already when it is paused or cancelled; closing the client fails all that is not over.
 */
export const uploadPhases = machine({
  waiting: { turn: 'sending', pause: 'paused', cancel: 'cancelling', fail: 'failed', close: 'failed' },
  sending: {
    stall: 'waiting',
    verify: 'verifying',
    pause: 'paused',
    cancel: 'cancelling',
    fail: 'failed',
    close: 'failed',
  },
  verifying: {
    again: 'sending',
    stall: 'waiting',
    stored: 'done',
    pause: 'paused',
    cancel: 'cancelling',
    fail: 'failed',
    close: 'failed',
  },
  paused: { resume: 'waiting', cancel: 'cancelling', stored: 'done', close: 'failed' },
  cancelling: { cancelled: 'cancelled', stored: 'done', fail: 'failed', close: 'failed' },
  cancelled: {},
  failed: {},
  done: {},
})

export type UploadPhase = keyof typeof uploadPhases.table

export type UploadStep = Parameters<typeof uploadPhases.next>[1]
