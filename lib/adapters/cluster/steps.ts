import type { AddressedMessage, Expired, MailboxBounds, MailboxLevel, StoredMessage } from '../../ports/mailboxes.ts'
import type {
  Announcement,
  Checkpoint,
  Claim,
  NewTransfer,
  OtherUploads,
  SentFile,
  StoredFile,
  TransferRecord,
  UnfinishedTotals,
} from '../../ports/storage.ts'

/*
 * The shared store of a cluster, as steps.
 *
 * Each method is one atomic step: it takes effect as a whole at one moment, or not at all. Batching, retries, leases, caches and
 * notifications belong to the layer above (`lib/adapters/cluster`), which knows no SQL. `lib/adapters/postgres` implements the steps
 * in SQL, and a model in memory implements them for the simulator and the contract suite.
 *
 * Errors. A method rejects with OspError for an outcome that it states, with `disk-full` if the store is full (nothing happened),
 * and with `OutcomeUnknown` if the connection ended before the answer: the step may have taken effect. Every step can be repeated
 * then: it is idempotent by a token, a message id, a seq or an epoch.
 */

/** The connection ended before the answer of a step: it may have taken effect. The same step can be repeated. */
export class OutcomeUnknown extends Error {
  override readonly name = 'OutcomeUnknown'
}

/** The number of link numbers that `linkBlock` reserves. */
export const linkBlockSize = 65_536

/** A link of one server of the cluster. */
export interface ClusterLink {
  /** The number of the server: each start of a server has a new one. */
  readonly server: number
  /** Unique among all living servers. */
  readonly link: number
}

/** A link, and the session of the client that has opened it. */
export interface ClusterSessionLink extends ClusterLink {
  readonly user: string
  /** 32 hexadecimal digits. */
  readonly session: string
}

export interface ServerInfo {
  readonly name: string
  /** A random id of this start: `enter` repeated with it resolves with the same number. */
  readonly boot: string
  readonly version: string
  /** For operators. */
  readonly address: string
}

export interface ServerState extends ServerInfo {
  readonly server: number
  /** Ms until its lease ends, by the clock of the store; negative once it is over. */
  readonly leaseMs: number
  readonly isDead: boolean
  /** The latest version of its part of the list of registered users. */
  readonly presenceVersion: number
  readonly startedAt: number
  readonly status: Readonly<Record<string, unknown>>
}

export interface ServerSteps {
  /** Adds a server with a new lease. */
  enter(info: ServerInfo, leaseMs: number): Promise<number>
  /**
   * Extends the lease, and stores the time of the age clock and what `status` shows. Resolves with false, without a change, if the
   * server was declared dead.
   */
  renew(server: number, leaseMs: number, age: number, status: Readonly<Record<string, unknown>>): Promise<boolean>
  /** Ends the lease of a server that has no links any more: as `declareDead` does. */
  leave(server: number): Promise<void>
  /**
   * Declares servers dead whose lease is over. Their registrations end as if handed out completely, their uploads are held by no link.
   * Resolves with their numbers. Nothing happens if the lease of `by` is over.
   */
  declareDead(by: number): Promise<readonly number[]>
  servers(): Promise<readonly ServerState[]>
  /** Resolves with the first of `linkBlockSize` numbers for links that were never given before. */
  linkBlock(): Promise<number>
  /** The latest time of the age clock that any server has stored; 0 at first. */
  lastTime(): Promise<number>
}

export interface SessionSteps {
  /**
   * From now on this link is its session's. Resolves with the former link of the session, if it had another one. Rejects with
   * `link-lost` if the server was declared dead, and with `link-replaced` if the session has another link that was opened
   * with a higher `attempt`.
   */
  openSession(link: ClusterSessionLink, attempt: number): Promise<ClusterLink | undefined>
  /** Ends the session's link, if it still is this one. */
  closeSession(link: ClusterSessionLink): Promise<void>
}

/** A mailbox whose recipient listens at another server. */
export interface Wake {
  readonly server: number
  readonly user: string
}

export interface PostResult {
  /** For each message: its error (`link-lost`, `id-reused`, `rate-limited`, `mailbox-full` with the recipients), or undefined if it is stored. */
  readonly outcomes: readonly (PostRefusal | undefined)[]
  readonly wakes: readonly Wake[]
}

export interface PostRefusal {
  readonly code: 'link-lost' | 'id-reused' | 'rate-limited' | 'mailbox-full'
  /** For `mailbox-full`: the affected recipients. */
  readonly recipients?: readonly string[]
}

export interface ListenResult {
  /** The number of this registration of the user: it rises with each. */
  readonly epoch: number
  /** Messages up to this seq may have been handed out before. */
  readonly handed: number
  /** The former registration that this one has replaced, if it had not ended. */
  readonly former?: ClusterLink
}

/** A mailbox that has a listening user at this server. */
export interface ListenedMailbox {
  readonly user: string
  readonly link: number
  readonly epoch: number
  readonly lastSeq: number
}

export interface MailSteps {
  /**
   * Stores messages of any senders, in their order, with the rules of `MailboxStore.append`. A repeated message (same sender, id,
   * recipients and content) has the outcome of the earlier one. Within a mailbox, messages become visible in the order of their seqs.
   * `by` has the link of this server over which each message came: the session is checked as in `claim`, and a message that is not
   * stored already has the error `link-lost`. A message without a link is not checked.
   */
  post(
    server: number,
    messages: readonly AddressedMessage[],
    bounds: MailboxBounds,
    by?: readonly (ClusterSessionLink | undefined)[],
  ): Promise<PostResult>
  /** As `MailboxStore.read`, for several mailboxes. With `epoch`, none unless the registration with this epoch is the present one. */
  read(
    from: readonly { readonly user: string; readonly afterSeq: number; readonly epoch?: number | undefined }[],
    most: number,
    mostBytes: number,
  ): Promise<readonly (readonly StoredMessage[])[]>
  /** Removes those of these messages that exist. */
  remove(
    server: number,
    messages: readonly { readonly user: string; readonly seqs: readonly number[] }[],
  ): Promise<void>
  /** Sets those of these messages aside that exist. */
  setAside(messages: readonly { readonly user: string; readonly seqs: readonly number[] }[]): Promise<void>
  /** One part of `MailboxStore.expire`: at most `most` messages and ids. `isDone` once nothing is left. */
  expire(
    server: number,
    messagesBefore: number,
    idsBefore: number,
    most: number,
  ): Promise<{ readonly expired: readonly Expired[]; readonly isDone: boolean }>
  /** As `MailboxStore.lastSeq`. */
  lastSeq(): Promise<number>
  /** The mailboxes with messages, the fullest first, at most `most`. */
  levels(most: number): Promise<readonly MailboxLevel[]>
  /**
   * Makes this link the one that receives the user's messages. Rejects with `superseded` if the session has lost the mailbox to
   * another one, and with `link-lost` if the server was declared dead or the session has another link. Repeated for the same link
   * it resolves with the same epoch.
   */
  listen(link: ClusterSessionLink): Promise<ListenResult>
  /** Ends the registration with this epoch, if it is the present one. `handed`: the highest seq that was handed out. */
  unlisten(user: string, epoch: number, handed: number): Promise<void>
  /** The mailboxes that this server's links listen to, as the store has them. For polling. */
  listened(server: number): Promise<readonly ListenedMailbox[]>
}

/** A change of a server's part of the list of registered users. */
export interface PresenceChange {
  readonly link: number
  readonly user: string
  readonly isHere: boolean
}

export interface PresenceSteps {
  /** Stores changes of this server's part. Resolves with its new version. Idempotent by `after`, the version before. */
  present(server: number, after: number, changes: readonly PresenceChange[]): Promise<number>
  /** The changes of another server's part after this version; `isWhole` if they replace all that is known of it. */
  presence(
    server: number,
    after: number,
  ): Promise<{ readonly version: number; readonly isWhole: boolean; readonly changes: readonly PresenceChange[] }>
}

/** What a claim finds, under the lock of the user. */
export interface FoundUpload {
  readonly record: TransferRecord | undefined
  /** Whether a living server's instance receives the upload now. */
  readonly isHeld: boolean
  /** What its claim has reserved. */
  readonly reserved: number
  /** Its completion marker, with the version of the stored file. */
  readonly marker: Announcement | undefined
  /** The names of the user's other unfinished uploads. */
  readonly otherNames: readonly string[]
  /** The user's other unfinished uploads; and the number of all uploads, without this one. */
  readonly others: OtherUploads & { readonly allUploads: number }
}

/** What a claim does, decided from what it has found. */
export type ClaimDecision =
  | { readonly completed: StoredFile }
  | { readonly record: Omit<TransferRecord, 'token'>; readonly reserved: number; readonly dropsMarker: boolean }

export interface TransferSteps {
  /**
   * Under the lock of the user: checks that the session's link is still `by` (rejects `link-lost`), calls `decide` with what it
   * finds, and stores the decision. If `decide` rejects, nothing happens. A claim that is repeated after an unknown outcome finds its
   * own record: the owner is the same link and instance. With `isRecovery` the session is not checked: the server itself completes
   * the upload, and `by` has its number with the link and the session of the record.
   */
  claim(
    by: ClusterSessionLink,
    upload: Pick<NewTransfer, 'user' | 'name'>,
    decide: (found: FoundUpload) => Promise<ClaimDecision>,
    isRecovery?: boolean,
  ): Promise<
    | { readonly claim: Claim; readonly record: TransferRecord; readonly former?: Claim & ClusterLink }
    | { readonly completed: StoredFile }
  >
  /** For each: whether its claim still holds; only then its checkpoints are replaced. */
  checkpoint(
    batch: readonly {
      readonly claim: Claim
      readonly checkpoints: readonly Checkpoint[]
      readonly at: number
    }[],
  ): Promise<readonly boolean[]>
  /** The content's generation: the token of the claim whose file has the bytes. False if the claim does not hold any more. */
  moved(claim: Claim, generation: number): Promise<boolean>
  verified(claim: Claim, file: StoredFile, stamp: string): Promise<boolean>
  /** Resolves with true as well if this claim has completed the upload already. */
  complete(claim: Claim, until: number): Promise<boolean>
  /**
   * Records completion markers of files that are about to be stored without an upload, and removes records of these names. With
   * `by`, whose files they are, the session is checked as in `claim`.
   */
  announce(server: number, files: readonly Announcement[], until: number, by?: ClusterSessionLink): Promise<void>
  /** No link holds the uploads any more. Nothing happens if the claim does not hold. */
  release(claims: readonly Claim[]): Promise<void>
  /** After the check of the session as in `claim`, unless `by` is undefined. Resolves with the removed record's claim and owner. */
  remove(user: string, name: string, by: ClusterSessionLink | undefined): Promise<(Claim & ClusterLink) | undefined>
  /**
   * As `TransferStore.expire`; never an upload that a living server's instance receives. With `by`, after the check of the session
   * as in `claim`, such an upload as well.
   */
  expire(user: string, name: string, before: number, by?: ClusterSessionLink): Promise<TransferRecord | undefined>
  forget(user: string, name: string): Promise<void>
  /** Records in the order of (user, name), after that key, at most `most`. */
  records(
    of: string | undefined,
    after: Pick<Claim, 'user' | 'name'> | undefined,
    most: number,
  ): Promise<readonly TransferRecord[]>
  record(user: string, name: string): Promise<TransferRecord | undefined>
  /**
   * The totals of a user's records, except those of these names. An upload that another living server than this one receives counts
   * with its full size.
   */
  totals(user: string, except: readonly string[], server: number): Promise<UnfinishedTotals>
  marker(user: string, name: string): Promise<Announcement | undefined>
  /** Marks completed files as reported. */
  reported(files: readonly Pick<SentFile & { readonly user: string }, 'user' | 'name'>[]): Promise<void>
  /** Files that were completed or announced by servers that are dead, or by `server`, and were not reported. */
  unreported(server: number): Promise<readonly Announcement[]>
  /** Verified records that no living server holds. */
  abandoned(): Promise<readonly TransferRecord[]>
  /** Why claims ended that this server held: for those that the store still remembers. */
  ended(
    tokens: readonly number[],
  ): Promise<readonly { readonly token: number; readonly why: 'superseded' | 'cancelled' }[]>
}

export interface StoredUser {
  readonly name: string
  readonly tokenHash: Uint8Array
  readonly since: number
}

export interface UserSteps {
  /** All users, and the version of the table. Resolves with undefined if the version is still `known`. */
  users(known: number): Promise<{ readonly version: number; readonly users: readonly StoredUser[] } | undefined>
  /** Adds or replaces a user; with `undefined` removes it. Rejects with `usage` if a name that looks alike exists. */
  setUser(name: string, tokenHash: Uint8Array | undefined): Promise<void>
}

/** A notification: it only makes things faster. A server that receives none finds the same by polling. */
export type Notice =
  | { readonly kind: 'mail'; readonly users: readonly string[] }
  | { readonly kind: 'presence'; readonly server: number; readonly version: number }
  | { readonly kind: 'ended'; readonly link: number; readonly why: 'superseded' | 'closed' }
  | { readonly kind: 'claim'; readonly token: number; readonly why: 'superseded' | 'cancelled' }
  | { readonly kind: 'users' }
  /** Something of any kind may have been missed. */
  | { readonly kind: 'unknown' }

export interface NoticeSteps {
  /** Notifies a server, or all. Best effort: it never rejects. */
  tell(to: number | 'all', notice: Notice): Promise<void>
  /** Calls `heard` for each notification to this server or to all, and with `unknown` after each loss of the connection. */
  hear(server: number, heard: (notice: Notice) => void): Disposable
}

/** The steps of a shared store. */
export interface Steps extends ServerSteps, SessionSteps, PresenceSteps, UserSteps, NoticeSteps, AsyncDisposable {
  readonly mail: MailSteps
  readonly transfers: TransferSteps
  /** Connects, or rejects with `data-format` (unknown schema, not durable) or `internal` (cannot be reached). */
  open(): Promise<void>
}
