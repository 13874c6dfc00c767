import type { PeerAddress } from './socket.ts'

/** What a client says of itself in HELLO_REQ, and where it says it from. */
export interface Credentials {
  readonly user: string
  readonly token: string
  readonly peer: PeerAddress
}

/** Who comes in by what credentials say. */
export interface Admitted {
  readonly user: string
  /** The user has proven nothing: whatever token they sent was not looked at. */
  readonly unproven?: boolean
}

/** Decides who may come in, and under which name. */
export interface Authenticator {
  /**
   * Resolves with the user whom the link belongs to; rejects with OspError `unauthorized`, or with another one where nobody can
   * be let in for now.
   */
  authenticate(credentials: Credentials): Promise<Admitted>
  /**
   * Whether messages can be addressed to this name: `unlisted` if they can be to every name, since there is no list of users, and
   * `unseen` if besides no user of this name has come in yet, as far as that is remembered.
   */
  knows(user: string): Promise<boolean | 'unlisted' | 'unseen'>
  /**
   * Tells whose right to come in has changed, with `undefined` everybody's: links that they have are ended, and let in again or
   * not. What `authenticate` finds changed is told before it lets anybody in by it.
   */
  watch?(changed: (user: string | undefined) => void): Disposable
}
