import type { ClientState } from '../../ports/clientState.ts'
import type { Log } from '../../ports/log.ts'
import type { Platform } from '../../ports/platform.ts'
import type { ClientSession } from '../connection/session.ts'
import type { UploadLink } from './uploadLink.ts'

export interface UploadListOptions {
  readonly platform: Platform
  readonly session: ClientSession<UploadLink>
  /** Where tasks are kept, and how their sources are found again. */
  readonly state: Pick<ClientState, 'tasks' | 'reopen' | 'discard'>
  /** Uploads at once, where the server allows as many. */
  readonly atOnce: number
  /** Bytes a second for all uploads together. */
  readonly limitRate: number
  readonly retryForMs: number
  readonly log: Log
  /** The log for failing listeners, if any. */
  readonly listenerLog: Log | undefined
}
