import type { PresenceMember } from '../ports/presence.ts'

/** An upload as `Server.status` shows it. */
export interface ReceivingUpload {
  readonly user: string
  readonly name: string
  readonly size: number
  /** The instance that receives the upload, and the node of the link that sends it. */
  readonly instance: number
  readonly node: number
  /** Number of leading bytes that are written, and that are durable. */
  readonly progress: number
  readonly durable: number
}

/** The numbers of things in the memory of a server, each bounded. Those of a link or user are the highest among all. */
export interface ServerGauges {
  /** Links after HELLO. */
  readonly links: number
  /** Links before a valid HELLO. */
  readonly pendingLinks: number
  /** Rejected connections to which the reason is still being sent. */
  readonly rejectedLinks: number
  /** Addresses whose recent HELLOs or log lines are counted. */
  readonly rememberedAddresses: number
  /** Users without a link whose rates are remembered. */
  readonly rememberedUsers: number
  /** Unsent bytes of one link. */
  readonly unsentBytesPerLink: number
  readonly unsentRepliesPerLink: number
  /** Unanswered requests of one link. */
  readonly runningRequestsPerLink: number
  /** Replies of one link that are kept to answer repeated requests. */
  readonly rememberedRepliesPerLink: number
  /** Unsent changes of the presence list. */
  readonly pendingPresenceChanges: number
  /** Bytes of messages that are read for delivery. */
  readonly deliveryBytes: number
  /** Messages of one recipient without a link whose delivery attempts are remembered. */
  readonly rememberedAttemptsPerUser: number
  readonly parkedUploads: number
  /** Uploads that wait for an instance. */
  readonly waitingUploads: number
  /** Entries of the upload table that are neither open nor in use; always 0. */
  readonly orphanedUploads: number
  /** Total size of the chunks that clients may currently send. */
  readonly grantedChunkBytes: number
  /** Stored files that are open for reading. */
  readonly openFiles: number
  /** Bytes of stored files that are being read, or were read and are not sent yet. */
  readonly readBytes: number
}

export interface ServerStatus {
  readonly links: number
  /** Users with at least one link, sorted. */
  readonly users: readonly string[]
  /** The registered clients in the presence list. */
  readonly online: readonly PresenceMember[]
  readonly uploads: readonly ReceivingUpload[]
  readonly gauges: ServerGauges
}
