/** Something that may happen to a world with these parts. */
export interface Action<Parts> {
  readonly name: string
  /** How often it happens beside the others, before a world scales it. */
  readonly weight: number
  /** It happens to the simulated disk, and never if the world keeps its files elsewhere. */
  readonly toDisk?: boolean
  /** Returns false if there is nothing that it could happen to. */
  readonly apply: (parts: Parts) => boolean
}
