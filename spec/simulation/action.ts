/** An action that can happen to a world with these parts. */
export interface Action<Parts> {
  readonly name: string
  /** Relative frequency, before a world scales it. */
  readonly weight: number
  /** Acts on the simulated disk; never happens if the world stores its files elsewhere. */
  readonly toDisk?: boolean
  /** Returns false if there is nothing to act on. */
  readonly apply: (parts: Parts) => boolean
}
