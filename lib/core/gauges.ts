/** What one link holds at present. Each of these has a bound. */
export interface LinkGauges {
  readonly unsentBytes: number
  readonly unsentReplies: number
  /** Requests of the other side that are not answered yet. */
  readonly runningRequests: number
  readonly rememberedReplies: number
}
