import type { Pacer } from '../../core/pacer.ts'
import type { Clock, DigestName } from '../../ports/platform.ts'
import type { OpenSource } from '../../ports/source.ts'
import type { IncrementalDigest } from '../../runtime/incrementalDigest.ts'
import type { UploadLink } from './uploadLink.ts'

/** What the sending of one file over one link needs, and whom it tells how it goes. */
export interface UploadAttemptOptions {
  readonly link: UploadLink
  readonly clock: Clock
  readonly pace: Pacer
  readonly source: OpenSource
  readonly name: string
  readonly algorithm: DigestName
  /** Of the source; it goes on with what earlier sendings have digested. */
  readonly digest: IncrementalDigest
  /** Begin at zero, whatever the server has. */
  readonly fresh: boolean
  /** Where the server stood when it was last heard of. */
  readonly progress: number
  /** Ends the sending; the server keeps what it has. */
  readonly signal: AbortSignal
  /** The server has given it an instance. */
  readonly granted: () => void
  /** The server has so many leading bytes, so many of them durable. */
  readonly standing: (progress: number, durable?: number) => void
  /** The server has acknowledged this many bytes of content that were sent on the link. */
  readonly transferred: (bytes: number) => void
  /** The server has acknowledged every byte and verifies the file; or, if false, a part must be sent again. */
  readonly verifying: (yes: boolean) => void
}
