import type { MailboxStore } from './mailboxes.ts'
import type { Platform } from './platform.ts'
import type { PresenceMember } from './presence.ts'

/** A link of a client whose HELLO_REQ has named its user and session. */
export interface SessionLink extends PresenceMember {
  /** The client's session, 32 hexadecimal digits. It outlives its links. */
  readonly session: string
}

/** A registration that listens for the messages of its user. */
export interface ListeningLink extends SessionLink {
  /** The name of its device, or an empty string. Each device of a user has its own registration. */
  readonly device: string
  /** Rises with each registration of a server, so that a late `unlisten` does not end a newer registration of the same link. */
  readonly epoch: number
}

/** The reason why another link has ended a link. */
export type LinkEnd =
  /** The session of the link has opened a later link. */
  | 'link-replaced'
  /** Another session of the same user listens. */
  | 'superseded'

/** The events that a directory reports to its server. The events of other servers can arrive late. */
export interface LinkEvents {
  /** A link at another server listens. It replaces an earlier member of the same user. */
  here(member: PresenceMember): void
  /** A link at another server no longer listens. */
  gone(member: PresenceMember): void
  /** The link `by`, which may be at another server, has ended the link `node` of this server, or its registration. */
  ended(node: number, reason: LinkEnd, by: number): void
  /**
   * Another server was declared dead: its registrations have ended, and it no longer holds any uploads
   * (`TransferStore.abandoned`).
   */
  serverLost(): void
  /** The other servers have declared this server dead. It ends every link. Later links get new numbers. */
  declaredDead(): void
}

/**
 * The links of all servers that share a storage, and the registrations that listen. A single server keeps them in memory. Calls
 * about one link take effect in their order. A promise that rejects leaves the directory as it was.
 */
export interface LinkDirectory extends AsyncDisposable {
  /** Adds the server to the directory. `mailboxes` belong to the open storage. */
  open(platform: Platform, mailboxes: Pick<MailboxStore, 'lastSeq'>): Promise<void>
  /** Reports to `events` until the result is disposed of. Called once, before `open`. */
  watch(events: LinkEvents): Disposable
  /** Returns a number for a link. No other link has it while any of the servers runs. */
  nextNode(): number
  /**
   * Makes the link the only one of its session. An earlier link of the session ends (`ended`): a link of this server before this
   * resolves, and a link of another server soon. What that link still asks for is refused (`TransferStore.claim`,
   * `remove`, `MailboxStore.append`). Rejects with `link-replaced` if the session has a link with a higher
   * `attempt`.
   */
  openSession(link: SessionLink, attempt: number): Promise<void>
  /** Forgets the link of a session after its end. Has no effect if the session has another link. */
  closeSession(link: SessionLink): void
  /**
   * Makes the link the recipient of its user's messages for its device. An earlier registration of this device ends (`ended`): a
   * registration at this server before this resolves, and one at another server soon after. If the earlier registration belonged to
   * another session, that session is superseded. Resolves with
   * the highest seq of a message that may have been sent to an earlier recipient by another server, or before this server was
   * started. It can include messages that this server has sent, which the server remembers itself. The first of these rules applies:
   * - the session is among the last `fixed.supersededSessions` superseded sessions of this device: rejects `superseded`;
   * - too many registrations listen at all servers together: rejects `clients-full`.
   */
  listen(link: ListeningLink): Promise<{ readonly handed: number }>
  /**
   * Ends the registration, unless another one has replaced it. `handed` is the highest seq of a message that was sent to it, or
   * 0. Never rejects: a directory that cannot record this retries until its server is closed or declared dead.
   */
  unlisten(link: ListeningLink, handed: number): Promise<void>
  /** Returns the links that listen at other servers, as far as this server knows. */
  others(): Iterable<PresenceMember>
}
