import { fixed, KiB, type Limits } from '../../limits.ts'
import type { Message } from '../../wire/message.ts'
import { version } from '../../wire/protocol.ts'

/** A payload that any request but a chunk fits in. */
const leastFrameBytes = fixed.messageBytes + 4 * KiB

/** What a link is told that is let in. */
export function welcome(limits: Limits, bootId: Uint8Array, node: number): Message<'HelloAck'> {
  return {
    event: 'HelloAck',
    version,
    node,
    bootId,
    maxFrame: Math.max(leastFrameBytes, limits.chunkBytes + 8),
    keepAlive: limits.keepAliveMs,
    maxUploads: limits.uploadsPerLink,
    maxRecipients: limits.recipients,
    features: 0,
    messageIdFor: Math.floor(limits.messageIdMs / 1_000),
  }
}
