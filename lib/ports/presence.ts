/** A link of a user who listens. */
export interface PresenceMember {
  /** The number of the link. The server never uses it again while it runs. */
  readonly node: number
  readonly user: string
}
