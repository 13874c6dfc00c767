import type { PeerAddress } from './socket.ts'

/** The user and token of a HELLO_REQ, and the address that it came from. */
export interface Credentials {
  readonly user: string
  readonly token: string
  readonly peer: PeerAddress
}

/** The result of accepted credentials. */
export interface Admitted {
  readonly user: string
  /** The user is not verified: the token was not checked. */
  readonly unproven?: boolean
}

/** Decides which users are accepted, and under which name. */
export interface Authenticator {
  /** Resolves with the user of the link. Rejects with OspError `unauthorized`, or another code if it cannot decide. */
  authenticate(credentials: Credentials): Promise<Admitted>
  /**
   * Returns whether messages can be addressed to this name: `unlisted` if every name is valid because there is no list of
   * users, and `unseen` if, in addition, no user of this name is known to have connected.
   */
  knows(user: string): Promise<boolean | 'unlisted' | 'unseen'>
  /**
   * Reports the user whose rights have changed, or `undefined` for all users; their links are ended, and may be accepted again.
   * A change that `authenticate` finds is reported before `authenticate` resolves.
   */
  watch?(changed: (user: string | undefined) => void): Disposable
}
