import type { PresenceMember } from '../ports/presence.ts'
import type { Upload } from './files/upload.ts'

/** An upload as `Server.status` shows it. */
export interface ReceivingUpload {
  readonly user: string
  readonly name: string
  readonly size: number
  /** The instance that receives it, and the node of the link that sends it. */
  readonly instance: number
  readonly node: number
  /** Leading bytes written, and durable. */
  readonly progress: number
  readonly durable: number
}

/**
 * What a server holds in memory at present, as numbers for monitoring. The limits of the server bound each of them. A gauge of a
 * link or of a user is the highest among all links or users.
 */
export interface ServerGauges {
  /** Links after HELLO. */
  readonly links: number
  /** Links that have not sent a valid HELLO yet. */
  readonly pendingLinks: number
  /** Rejected connections that are still told the reason. */
  readonly rejectedLinks: number
  /** Addresses whose recent HELLOs or log lines are counted. */
  readonly rememberedAddresses: number
  /** Users without a link whose rates are remembered. */
  readonly rememberedUsers: number
  /** Bytes that one link has not sent yet. */
  readonly unsentBytesPerLink: number
  readonly unsentRepliesPerLink: number
  /** Requests of one link that are not answered yet. */
  readonly runningRequestsPerLink: number
  /** Replies of one link that are kept to answer repeated requests. */
  readonly rememberedRepliesPerLink: number
  /** Changes of the presence list that are not sent yet. */
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
  /** Bytes of the chunks that clients may send at present. */
  readonly grantedChunkBytes: number
}

export interface ServerStatus {
  readonly links: number
  /** Users with at least one link, sorted. */
  readonly users: readonly string[]
  /** Who has registered and is in the online list. */
  readonly online: readonly PresenceMember[]
  readonly uploads: readonly ReceivingUpload[]
  readonly gauges: ServerGauges
}

/** An upload as it is shown. */
export function shown({ user, name, size, standing, instance }: Upload): ReceivingUpload {
  return { user, name, size, instance: instance?.number ?? 0, node: instance?.holder?.node ?? 0, ...standing }
}
