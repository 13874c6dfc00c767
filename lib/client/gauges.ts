import type { GaugeSink, LinkQueue } from '../core/gauges.ts'

/** What a client holds, besides what it was given to keep. */
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

/** Is told how much there is at present; of what each link, or each user, has: of each. */
export type ClientGaugeSink = GaugeSink<ClientQueue>
