import type { OspError } from '../../errors.ts'
import type { StoredTask } from '../../ports/clientState.ts'
import type { ConnectionFailure } from '../connection/session.ts'
import type { UploadPhase } from './upload.ts'
import type { UploadJob } from './uploadJob.ts'

/** The present status of a task. */
export interface TaskStatus {
  readonly id: number
  /** The reference by which its source is opened again: the path of a file. */
  readonly ref: string | undefined
  /** The name on the server. */
  readonly name: string
  readonly state: UploadPhase
  /** Bytes: acknowledged by the server, durable on the server, and of the source (0 until it was opened). */
  readonly acknowledged: number
  readonly durable: number
  readonly size: number
  readonly reason: TaskReason | undefined
}

/** The reason for which a task makes no progress. */
export interface TaskReason {
  /** An error code; `not-begun` if no program sends it, `paused`, or `turn` if other tasks are sent first. */
  readonly code: string
  /** A sentence. */
  readonly text: string
  /** Milliseconds until the next try, if known. */
  readonly retryMs?: number | undefined
}

/** Returns the status of a task of this program. */
export function liveStatus(
  { upload, active, retryAtMs }: Pick<UploadJob, 'upload' | 'active' | 'retryAtMs'>,
  link: ConnectionFailure | undefined,
  now: number,
): TaskStatus {
  const { id, ref, name, phase: state, progress } = upload
  const reason = () => {
    if (state === 'paused') return paused
    if (state === 'failed') return upload.error && reasonOf(upload.error)
    if (state !== 'waiting' && state !== 'cancelling') return undefined
    if (link) return reasonOf(link.error, link.retryAtMs, now)
    if (upload.error) return reasonOf(upload.error, retryAtMs, now)
    return active || state === 'cancelling' ? undefined : { code: 'turn', text: 'it is waiting for other uploads' }
  }
  return { id, ref, name, state, ...progress, reason: reason() }
}

/** Returns the status of a task that is only stored. */
export function storedStatus({ id, ref, name, state, size, reason, ...stored }: StoredTask): TaskStatus {
  const durable = state === 'done' ? size : stored.durable
  const common = { id, ref, name, acknowledged: durable, durable, size }
  // An open task has a reason if the server refused the client at the last try.
  const refusal = reason && { ...reason, text: `the server rejected osp send: ${reason.text}` }
  if (state === 'open') return { ...common, state: 'waiting', reason: refusal ?? notBegun }
  if (state === 'cancelling') return { ...common, state, reason: notRemoved }
  return { ...common, state, reason: state === 'paused' ? paused : reason }
}

const paused: TaskReason = { code: 'paused', text: 'it is paused; continue it' }

const notBegun: TaskReason = { code: 'not-begun', text: 'no program is sending it; osp send continues it' }

const notRemoved: TaskReason = { code: 'not-begun', text: 'the server still has its bytes; osp send removes them' }

function reasonOf({ code, message: text }: OspError, retryAtMs?: number, now = 0): TaskReason {
  return { code, text, ...(retryAtMs !== undefined && { retryMs: Math.max(0, Math.round(retryAtMs - now)) }) }
}
