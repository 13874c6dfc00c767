import type { Limits } from '../../limits.ts'
import type { Authenticator } from '../../ports/authenticator.ts'
import type { Platform } from '../../ports/platform.ts'
import type { App as AppName } from '../../wire/protocol.ts'
import type { App } from '../app.ts'
import type { ServerLog } from '../logEvents.ts'
import type { Admission } from './admission.ts'
import type { BegunFrames } from './begunFrames.ts'
import type { Session } from './session.ts'
import type { UserRateLimiters } from './userRateLimiters.ts'

/** What a session needs of its server. */
export interface SessionHost {
  readonly platform: Platform
  readonly limits: Limits
  readonly authenticator: Authenticator
  /** Tokens are taken also where others could read them on the way. */
  readonly insecure: boolean
  readonly apps: ReadonlyMap<AppName, App>
  /** 16 bytes that name this run of the server. */
  readonly bootId: Uint8Array
  readonly log: ServerLog
  readonly admission: Admission
  readonly paces: UserRateLimiters
  readonly begunFrames: BegunFrames
  /** Up to which version of the online list everybody has been sent the changes. */
  listVersion(): number
  /** How many are in the online list. */
  members(): number
  /**
   * Ends the earlier link of the same user and session, if it is still open, and resolves when its apps have been
   * informed. Rejects with OspError `link-replaced` if a later link is open.
   */
  replaces(session: Session): Promise<void>
  closed(session: Session): void
  /** Bytes of requests, chunks above all, that one link may have waiting to be carried out. */
  unwrittenBytes(): number
}
