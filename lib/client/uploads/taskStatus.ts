import type { OspError } from '../../errors.ts'
import type { StoredTask } from '../../ports/clientState.ts'
import type { Upload, UploadPhase } from './upload.ts'

/** Why a session has no link; when it tries again, by the clock of its platform. */
export interface Trouble {
  readonly why: OspError
  readonly retryAtMs: number | undefined
}

/** A task as it stands at present. */
export interface TaskStatus {
  readonly id: number
  /** How its source is found again, if it can be: of a file, its path. */
  readonly ref: string | undefined
  /** On the server. */
  readonly name: string
  readonly state: UploadPhase
  /** Bytes: acknowledged, durable on the server, and of the source (0 until it was opened). */
  readonly acknowledged: number
  readonly durable: number
  readonly size: number
  readonly why: TaskReason | undefined
}

/** Why a task does not go on. */
export interface TaskReason {
  /** An error code; `not-begun` where this program was not asked to send it, `paused`, or `turn` where others go first. */
  readonly code: string
  /** A sentence. */
  readonly text: string
  /** In how many milliseconds it is tried again, where that is known. */
  readonly retryMs?: number | undefined
}

/** What a status of a live upload is made of. */
export interface LiveTask {
  readonly upload: Upload
  readonly ref: string | undefined
  /** It is one of those that are being sent. */
  readonly active: boolean
  /** When a refusal is tried again, by the clock. */
  readonly retryAtMs: number | undefined
}

/** Of a task that is in the list of this program. */
export function statusOf(
  { upload, ref, active, retryAtMs }: LiveTask,
  link: Trouble | undefined,
  now: number,
): TaskStatus {
  const { id, name, phase: state, progress } = upload
  const reason = () => {
    if (state === 'paused') return { code: 'paused', text: 'it is paused; continue it' }
    if (state === 'failed') return upload.error && reasonOf(upload.error)
    if (state !== 'waiting' && state !== 'cancelling') return undefined
    if (link) return reasonOf(link.why, link.retryAtMs, now)
    if (upload.error) return reasonOf(upload.error, retryAtMs, now)
    return active || state === 'cancelling' ? undefined : { code: 'turn', text: 'it waits for its turn behind others' }
  }
  return { id, ref, name, state, ...progress, why: reason() }
}

/** Of a task that is only kept. */
export function keptStatus({ id, ref, name, state, size, durable, why }: StoredTask): TaskStatus {
  const acknowledged = state === 'done' ? size : durable
  if (state === 'open')
    return { id, ref, name, state: 'waiting', acknowledged, durable, size, why: why ? notLetIn(why) : notBegun }
  const reason = state === 'paused' ? { code: 'paused', text: 'it is paused; continue it' } : why
  return {
    id,
    ref,
    name,
    state,
    acknowledged,
    durable: acknowledged,
    size,
    why: state === 'cancelling' ? notRemoved : reason,
  }
}

const notBegun: TaskReason = { code: 'not-begun', text: 'nobody sends it at present; osp send takes it up' }

/** A task that is open, and has a reason, was not let in the last time. */
const notLetIn = ({ code, text }: TaskReason): TaskReason => ({ code, text: `osp send was not let in: ${text}` })

const notRemoved: TaskReason = {
  code: 'not-begun',
  text: 'the server has still to remove what it has; osp send sees to that',
}

function reasonOf({ code, message: text }: OspError, retryAtMs?: number, now = 0): TaskReason {
  return { code, text, ...(retryAtMs !== undefined && { retryMs: Math.max(0, Math.round(retryAtMs - now)) }) }
}
