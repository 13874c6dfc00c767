import type { GaugeSink, LinkQueue } from '../core/gauges.ts'

/** The counts of a client that grow with what its users and its server do. */
export type ClientQueue =
  | LinkQueue
  | 'messages to be sent'
  | 'bytes of messages to be sent'
  | 'messages to be handed over'
  | 'requests that came before an earlier one'
  | 'receipts'
  | 'messages that were given up'
  | 'buffers of chunks'
  | 'chunks that wait for a buffer'

/** Receives each present count; a count of a link or of a user for each of them. */
export type ClientGaugeSink = GaugeSink<ClientQueue>
