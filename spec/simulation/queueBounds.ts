import type { ClientGauges } from '../../lib/client/client.ts'
import { clientLimits, fixed, type Limits, MiB } from '../../lib/limits.ts'
import type { ServerGauges } from '../../lib/server/status.ts'

/** The state of a server as seen from outside. */
export type SeenQueue =
  | 'ms for which changes of the presence list are pending'
  | 'bytes of requests of a link that wait while it is read'
  | 'frames of a user that are read ahead'
  | 'message ids of a sender'
  | 'message ids'

/** Maximum length of a message in a world. */
const longestContent = 330

/** Maximum number of links of a user in a world. */
const linksOfUser = 16

/** Bytes of small frames that a client may have unsent, and windows of receipts that it keeps. */
const clientUnsentBytes = 64 * MiB
const receiptWindows = 8

/** The bounds of a server with these limits. */
export function serverBounds(limits: Limits): { readonly [Q in keyof ServerGauges | SeenQueue]: number } {
  const { chunkMemoryBytes, deliveryMemoryBytes, deliveryBytes, clients, rememberedAddresses } = limits
  return {
    links: limits.links,
    pendingLinks: limits.pendingLinks,
    rejectedLinks: limits.refusedLinks,
    rememberedAddresses: rememberedAddresses,
    rememberedUsers: rememberedAddresses,
    unsentBytesPerLink: limits.unsentBytes,
    unsentRepliesPerLink: fixed.unsentReplies,
    runningRequestsPerLink: fixed.replies,
    rememberedRepliesPerLink: fixed.replies,
    pendingPresenceChanges: fixed.clientsMost,
    'ms for which changes of the presence list are pending': limits.gatherMs,
    // One read can exceed the budget; beyond it, each recipient can have one message.
    deliveryBytes: deliveryMemoryBytes + Math.max(deliveryBytes, longestContent) + clients * longestContent,
    rememberedAttemptsPerUser: limits.deliveryWindow,
    parkedUploads: limits.parkedUploads,
    waitingUploads: fixed.waitingUploads,
    orphanedUploads: 0,
    grantedChunkBytes: grantedBytes(limits),
    openFiles: limits.fileInstances,
    // One reply always has memory. Beyond the limit, each client can have a short reply.
    readBytes: Math.max(limits.readMemoryBytes, limits.chunkBytes) + clients * fixed.shortReadBytes,
    'bytes of requests of a link that wait while it is read': chunkMemoryBytes / 4,
    // The maximum number in progress, and one request per link that was already read.
    'frames of a user that are read ahead': limits.framesPerSecond + linksOfUser,
    'message ids of a sender': limits.senderIds,
    'message ids': limits.messageIds,
  }
}

/** The bounds of a client if the server has these limits. */
export function clientBounds({ deliveryWindow }: Limits): { readonly [Q in keyof ClientGauges]: number } {
  const { sends, sendBytes, buffers, uploads } = clientLimits
  return {
    unsentBytesPerLink: clientUnsentBytes,
    unsentRepliesPerLink: fixed.unsentReplies,
    runningRequestsPerLink: fixed.replies,
    rememberedRepliesPerLink: fixed.replies,
    unsentMessages: sends,
    unsentMessageBytes: sendBytes,
    unhandledMessages: deliveryWindow,
    outOfOrderRequests: fixed.replies,
    receipts: receiptWindows * deliveryWindow,
    rejectedMessages: deliveryWindow,
    chunkBuffers: buffers,
    waitingChunks: uploads,
  }
}

/** Each instance gets at most an even share of the memory among the instances in use, itself included. */
function grantedBytes({ chunkBytes, chunkMemoryBytes, fileInstances }: Limits): number {
  let bytes = 0
  for (let busy = 1; busy <= fileInstances; busy++) bytes += Math.min(chunkBytes, chunkMemoryBytes / busy)
  return bytes
}
