import type { GaugeSink, LinkQueue } from '../core/gauges.ts'

/** What a server holds, besides what it has stored. */
export type ServerQueue =
  | LinkQueue
  | 'links'
  | 'links before HELLO'
  | 'links that are turned away'
  | 'addresses that are remembered'
  | 'users who have left and are remembered'
  | 'changes of the online list that are not told'
  | 'bytes of deliveries'
  | 'attempts of a user that are remembered'
  | 'parked uploads'
  | 'uploads that wait for an instance'
  | 'uploads that are known for nothing'
  | 'bytes of granted chunks'

/** Is told how much there is at present; of what each link, or each user, has: of each. */
export type ServerGaugeSink = GaugeSink<ServerQueue>
