import { fixed, KiB, type Limits } from '../limits.ts'
import type { Message } from '../wire/message.ts'
import { version } from '../wire/protocol.ts'

/** A payload that any request but a chunk fits in. */
const leastFrameBytes = fixed.messageBytes + 4 * KiB

/** The longest payload that a server with these limits takes from a client it has let in. */
export function maxFrameOf({ chunkBytes }: Limits): number {
  return Math.max(leastFrameBytes, chunkBytes + 8)
}

/** What a client that is let in is told, besides its node and which run of the server it is. */
export function welcome(limits: Limits): Omit<Message<'HelloAck'>, 'node' | 'bootId'> {
  return {
    event: 'HelloAck',
    version,
    maxFrame: maxFrameOf(limits),
    keepAlive: limits.keepAliveMs,
    maxUploads: limits.uploadsPerLink,
    maxRecipients: limits.recipients,
    features: 0,
    messageIdFor: Math.floor(limits.messageIdMs / 1_000),
  }
}
