/** What one link holds at present. Each of these has a bound. */
export interface LinkGauges {
  readonly unsentBytes: number
  readonly unsentReplies: number
  /** Requests of the other side that are not answered yet. */
  readonly runningRequests: number
  readonly rememberedReplies: number
}

/** Is told how much there is of something that grows with what peers do: each kind has a name, and a bound. */
export type GaugeSink<Q extends string> = (queue: Q, count: number) => void

/** What every link holds. */
export type LinkQueue =
  | 'bytes unsent on a link'
  | 'replies unsent on a link'
  | 'requests of a link that are carried out'
  | 'replies of a link that are remembered'
