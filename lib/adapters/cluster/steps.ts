import type { SessionLink } from '../../ports/links.ts'
import type {
  Announcement,
  Checkpoint,
  Claim,
  NewTransfer,
  OtherUploads,
  QuotaPart,
  QuotaRoom,
  SettledFile,
  StoredFile,
  TransferRecord,
  TransferStore,
  UnfinishedTotals,
} from '../../ports/storage.ts'
import type { FileRecord } from '../../storage/catalogue/fileRecords.ts'
import type { CopiedDevices, CopiedId, CopiedMessage } from '../../storage/mailboxes/copies.ts'
import type { FileChange, FileSteps, PendingFiles } from './fileSteps.ts'
import type { MailSteps } from './mailSteps.ts'

/*
 * The shared store of a cluster, as steps.
 *
 * Each method is one atomic step: it takes effect as a whole at one moment, or not at all. Batching, retries, leases, caches and
 * notifications belong to the layer above (`lib/adapters/cluster`), which contains no SQL. `lib/adapters/postgres` implements the
 * steps in SQL, and a model in memory implements them for the simulator and the contract suite.
 *
 * Errors. A method rejects with the OspErrors that its comment states, with `disk-full` if the store is full and nothing was
 * changed, and with `OutcomeUnknown` if the connection ended before the answer, so that the step may have taken effect. The
 * caller can then repeat the step: a token, a message id, a seq or an epoch makes it idempotent.
 */

/** The connection ended before the answer to a step, which may have taken effect. The same step can be repeated. */
export class OutcomeUnknown extends Error {
  override readonly name = 'OutcomeUnknown'
}

/** The number of link numbers that `linkBlock` reserves. */
export const linkBlockSize = 65_536

/** A link of one server of the cluster. */
export interface ClusterLink {
  /** The number of the server, which is new at each start. */
  readonly server: number
  /** Unique among all live servers. */
  readonly link: number
}

/** A claim, and the link that has made it. */
export interface LinkClaim extends Claim, ClusterLink {}

/** A link, and the session of the client that has opened it. */
export interface ClusterSessionLink extends ClusterLink {
  readonly user: string
  /** 32 hexadecimal digits. */
  readonly session: string
}

/** Returns the link of a request to a server, with the session of its client. */
export function sessionLink(
  server: number,
  user: string,
  { node, session }: Pick<SessionLink, 'node' | 'session'>,
): ClusterSessionLink {
  return { server, link: node, user, session }
}

export interface ServerInfo {
  readonly name: string
  /** A random id of this start: if `enter` is repeated with it, it resolves with the same number. */
  readonly boot: string
  /** The version of the database schema that the server uses. */
  readonly version: string
  /** For operators. */
  readonly address: string
}

export interface ServerState extends ServerInfo {
  readonly server: number
  /** The time in ms until its lease expires, by the clock of the store; negative after that. */
  readonly leaseMs: number
  readonly isDead: boolean
  /** The latest version of its part of the presence list. */
  readonly presenceVersion: number
  readonly startedAt: number
  readonly status: Readonly<Record<string, unknown>>
}

/** The latest state of the store that a server has seen. */
export interface SeenState {
  /** As in `PostResult`. */
  readonly stored: number
  /** The version of the server's part of the presence list. */
  readonly presenceVersion: number
  /** The highest seq of a message, and the highest token of a claim. */
  readonly seq: number
  readonly token: number
  /** The first number of the latest block of link numbers. */
  readonly linkBlock: number
}

/** The result of comparing the store with the state that a server has seen. */
export interface Comparison {
  /** Whether the store has gone back to an earlier state, so that changes are missing that it has confirmed. */
  readonly isBehind: boolean
  /** The number of missing messages that the server has stored. */
  readonly messages: number
  /** Whether the number of the server still belongs to it. */
  readonly isMember: boolean
  /** Changes when a standby is promoted. Null if the store does not know it. */
  readonly timeline: string | null
}

/** The amount by which numbers are raised in a store that has gone back: more than were lost. */
export const raisedBy = 1_000_000
/** The same for blocks of link numbers. A link number has 32 bits in a frame. */
export const raisedByBlocks = 16

export interface ServerSteps {
  /** Adds a server with a new lease. Rejects with `data-format` while an import is not finished. */
  enter(info: ServerInfo, leaseMs: number): Promise<number>
  /**
   * Extends the lease, and stores the time of the age clock and `status`. Resolves with false, without a change, if the server
   * was declared dead.
   */
  renew(server: number, leaseMs: number, age: number, status: Readonly<Record<string, unknown>>): Promise<boolean>
  /** Ends the lease of a server that has no links any more, with the effects of `declareDead`. */
  leave(server: number): Promise<void>
  /**
   * Declares the servers dead whose lease has expired. Their registrations end, and all messages of these mailboxes count as
   * handed out. No link holds their uploads any more. Resolves with their numbers. Has no effect if the lease of `by` has
   * expired.
   */
  declareDead(by: number): Promise<readonly number[]>
  servers(): Promise<readonly ServerState[]>
  /**
   * Compares the store with the state that the server with this number and this `boot` has seen. After the store has gone back, all
   * steps of the server except this one, `enter` and `lastTime` reject with `OutcomeUnknown` until one of these has succeeded.
   */
  compare(server: number, boot: string, seen: SeenState): Promise<Comparison>
  /**
   * Raises seqs, tokens, link numbers, and numbers of servers above those that a server has seen, so that a store that has gone
   * back uses none of them twice. Every server reads the users again.
   */
  raise(server: number, seen: SeenState): Promise<void>
  /** Reserves `linkBlockSize` numbers for links that were never used before. Resolves with the first of them. */
  linkBlock(): Promise<number>
  /** The latest time of the age clock that any server has stored; 0 at first. */
  lastTime(): Promise<number>
}

export interface SessionSteps {
  /**
   * Makes this link the link of its session. Resolves with the former link of the session, if it had another one. Rejects with
   * `link-lost` if the server was declared dead, and with `link-replaced` if the session has another link that was opened with a
   * higher `attempt`.
   */
  openSession(link: ClusterSessionLink, attempt: number): Promise<ClusterLink | undefined>
  /** Removes the link of the session, if it is still this one. */
  closeSession(link: ClusterSessionLink): Promise<void>
}

/** A change of a server's part of the presence list. */
export interface PresenceChange {
  readonly link: number
  readonly user: string
  readonly isHere: boolean
}

export interface PresenceSteps {
  /** Stores changes of this server's part. Resolves with its new version. `after`, the previous version, makes it idempotent. */
  present(server: number, after: number, changes: readonly PresenceChange[]): Promise<number>
  /** Resolves with the changes of another server's part after this version. `isWhole` is true if they replace the whole part. */
  presence(
    server: number,
    after: number,
  ): Promise<{ readonly version: number; readonly isWhole: boolean; readonly changes: readonly PresenceChange[] }>
}

/** The state that a claim finds, under the lock of the user. */
export interface FoundUpload extends Pick<PendingFiles, 'changes'> {
  readonly record: TransferRecord | undefined
  /** Whether an instance of a live server receives the upload now. */
  readonly isHeld: boolean
  /** The reservation of its claim. */
  readonly reserved: QuotaPart
  /** Its completion marker, with the version of the stored file. */
  readonly marker: Announcement | undefined
  /** The records of files that are stored under the name of the new file. */
  readonly files: readonly FileRecord[]
  /** The `Announcement.source` of an announced file of this name that may not be published yet. */
  readonly unpublished: string | undefined
  /** The names of the user's other unfinished uploads. */
  readonly otherNames: readonly string[]
  /** The user's other unfinished uploads; and the number of all uploads, without this one. */
  readonly others: OtherUploads & { readonly allUploads: number }
}

/** The decision about a claim. */
export type ClaimDecision =
  | { readonly completed: StoredFile }
  | { readonly record: Omit<TransferRecord, 'token'>; readonly reserved: QuotaPart }

/** A completion marker that must not be replaced: of a file that was not reported, or may not be published yet. */
export interface WaitingMarker extends Announcement {
  /** The server that reports the file. */
  readonly server: number
}

/** The result of `announce`. */
export interface Announced {
  /** The changes of stored files of these names, which must be ended first. If there are any, nothing was stored. */
  readonly changes: readonly FileChange[]
  /** The markers of these names that must not be replaced. If there are any, nothing was stored. */
  readonly waiting: readonly WaitingMarker[]
  /** The verified records of these names, whose files may have been published. If there are any, nothing was stored. */
  readonly unfinished: readonly TransferRecord[]
  /** Whether the files exceed `room`. Then nothing was stored. */
  readonly isOverQuota: boolean
  /** The claims of the removed records, and their owners. */
  readonly ended: readonly LinkClaim[]
}

export interface TransferSteps {
  /**
   * Under the lock of the user: checks that the session's link is still `by` (rejects `link-lost`), calls `decide` with the state
   * that it finds, and stores the decision. If `decide` rejects, nothing is changed. A claim that is repeated after an unknown
   * outcome finds its own record: the owner is the same link and instance. With `isRecovery` the session is not checked: the
   * server itself completes the upload, and `by` has its number with the link and the session of the record.
   */
  claim(
    by: ClusterSessionLink,
    upload: Pick<NewTransfer, 'user' | 'name' | 'storeAs'>,
    decide: (found: FoundUpload) => Promise<ClaimDecision>,
    isRecovery?: boolean,
  ): Promise<
    | {
        readonly claim: Claim
        readonly record: TransferRecord
        readonly former?: LinkClaim
        /** The token of the latest claim of this name whose server has released it; 0 if there is none. */
        readonly released: number
      }
    | { readonly completed: StoredFile }
  >
  /** Replaces the checkpoints of each upload whose claim is still valid. Resolves with whether each claim was valid. */
  checkpoint(
    batch: readonly {
      readonly claim: Claim
      readonly checkpoints: readonly Checkpoint[]
      readonly at: number
    }[],
  ): Promise<readonly boolean[]>
  /**
   * Marks an upload as verified. Resolves with whether the claim is valid, with the changes of the stored file, which must be ended
   * first, and with the marker of this name that must not be replaced. If there are any, nothing was stored.
   */
  verified(
    claim: Claim,
    file: StoredFile,
    stamp: string,
  ): Promise<{ readonly holds: boolean } & Pick<Announced, 'changes' | 'waiting'>>
  /** Adds the record of the stored file as well. Resolves with true if this claim has completed the upload already. */
  complete(claim: Claim, until: number): Promise<boolean>
  /**
   * Records completion markers of files that are about to be stored without an upload, and removes records of these names. With
   * `by`, whose files they are, the session is checked as in `claim`. A frozen server can publish an announced file at any later
   * time, as long as its source exists. Therefore a marker whose file may not be published yet is not replaced. With `room`, all
   * files are of one user.
   */
  announce(
    server: number,
    files: readonly Announcement[],
    until: number,
    by?: ClusterSessionLink,
    room?: Omit<QuotaRoom, 'refusal'>,
  ): Promise<Announced>
  /**
   * Records which announced files were published, and adds their records. Removes the markers of the others. Has no effect for a
   * file of a name that was announced again.
   */
  settle(files: readonly SettledFile[]): Promise<void>
  /** Records that no link holds these uploads, and that their files are closed. Has no effect for a claim that has ended. */
  release(claims: readonly Claim[]): Promise<void>
  /**
   * Removes a record; with `token`, only if this is its token. Checks the session as in `claim`, unless `by` is undefined. Resolves
   * with the claim and owner of the record.
   */
  remove(user: string, name: string, by?: ClusterSessionLink, token?: number): Promise<LinkClaim | undefined>
  /**
   * As `TransferStore.expire`. Without `by`, it keeps an upload that an instance of a live server receives. With `by`, it checks
   * the session as in `claim`, and removes such an upload as well.
   */
  expire(user: string, name: string, before: number, by?: ClusterSessionLink): Promise<TransferRecord | undefined>
  /**
   * Removes the completion marker of this upload with this digest. The records of its file then match no upload. Resolves with the
   * marker if it must not be removed.
   */
  forget(want: NewTransfer, digest: string): Promise<WaitingMarker | undefined>
  /** Records in the order of (user, name), after that key, at most `most`. */
  records(
    of: string | undefined,
    after: Pick<Claim, 'user' | 'name'> | undefined,
    most: number,
  ): Promise<readonly TransferRecord[]>
  record(user: string, name: string): Promise<TransferRecord | undefined>
  /**
   * The totals of a user's records and announced files, except those of these names. An upload that another live server receives
   * counts with its full size.
   */
  totals(user: string, except: readonly string[], server: number): Promise<UnfinishedTotals>
  marker(user: string, name: string): Promise<Announcement | undefined>
  /** Marks completed files as reported. Has no effect on a file with another `version`. */
  reported(files: Parameters<TransferStore['reported']>[0]): Promise<void>
  /** Files that were completed or announced by servers that are dead, or by `server`, and were not reported. */
  unreported(server: number): Promise<readonly Announcement[]>
  /** Verified records that no link at a live server holds, and the changes of stored files that dead servers have begun. */
  abandoned(): Promise<{ readonly records: readonly TransferRecord[]; readonly changes: readonly FileChange[] }>
  /** The reasons why these claims of this server have ended, as far as the store still has them. */
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
  /** Adds or replaces a user; removes it if `tokenHash` is undefined. Rejects with `usage` if a name that looks alike exists. */
  setUser(name: string, tokenHash: Uint8Array | undefined): Promise<void>
}

/** The state of a storage of one server, which an import copies. */
export interface ImportOrigin {
  /** Identifies this state of the storage: it differs after any change. */
  readonly id: string
  /** The place of the storage, for operators. */
  readonly place: string
  /** As `MailboxStore.lastSeq` and `MailboxStore.lastTime`. */
  readonly lastSeq: number
  readonly lastTime: number
}

/** An import into the shared store. */
export interface StoredImport extends Pick<ImportOrigin, 'id' | 'place'> {
  /** The number of a dead server, whose counters contain the additions of the import. */
  readonly server: number
  /** Added to the seqs of the storage, and to the times of its age clock. */
  readonly seqShift: number
  readonly ageShift: number
  /** When it was finished, in ms of the wall clock. */
  readonly finishedAt?: number
}

/** A completion marker, and whether the file was reported. */
export interface ImportedMarker extends Announcement {
  /** The end of its validity, in ms of the wall clock. */
  readonly until: number
  readonly reported: boolean
}

/**
 * The steps of an import of the storage of one server. While an import is not finished, no server enters: `ServerSteps.enter`
 * rejects with `data-format`. The steps that add data change nothing that exists, so an interrupted import can be repeated.
 */
export interface ImportSteps {
  /** All imports, in the order in which they began. */
  list(): Promise<readonly StoredImport[]>
  /** The names of all users with data in the store: a login, uploads, completed files, or a mailbox. */
  usedNames(): Promise<readonly string[]>
  /**
   * Begins an import. Resolves with the earlier one if it was begun with this id. Rejects with `data-locked` if a server is
   * alive, and with `data-format` if another import is not finished. Other servers are declared dead.
   */
  begin(origin: ImportOrigin): Promise<StoredImport>
  /** Adds users. From then on, all users must log in. Rejects with `name-conflict` if a name looks like the name of another user. */
  addUsers(users: readonly StoredUser[]): Promise<void>
  addMarkers(server: number, markers: readonly ImportedMarker[]): Promise<void>
  /** Adds a record, with a token of this store. The bytes are in a file of generation 0. */
  addUpload(server: number, record: TransferRecord): Promise<void>
  /** Adds messages with their seqs. They count as handed out. Adds no ids. */
  addMessages(server: number, messages: readonly CopiedMessage[]): Promise<void>
  addIds(server: number, ids: readonly CopiedId[]): Promise<void>
  /** Adds the devices of a user. The messages that they have handled or rejected must have been added before. */
  addDevices(devices: CopiedDevices): Promise<void>
  finish(id: string): Promise<void>
}

/** A notification between servers. It only reduces latency: a server that misses it finds the same changes by polling. */
export type Notice =
  | { readonly kind: 'mail'; readonly users: readonly string[] }
  | { readonly kind: 'presence'; readonly server: number; readonly version: number }
  /** `device`: the device whose registration has ended, unless it has no name. */
  | { readonly kind: 'ended'; readonly link: number; readonly why: 'superseded' | 'closed'; readonly device?: string }
  | { readonly kind: 'claim'; readonly token: number; readonly why: 'superseded' | 'cancelled' }
  | { readonly kind: 'users' }
  /** Notifications of any kind may have been missed. */
  | { readonly kind: 'unknown' }

export interface NoticeSteps {
  /** Notifies one server, or all servers. Best effort: it never rejects. */
  tell(to: number | 'all', notice: Notice): Promise<void>
  /** Calls `heard` for each notification to this server or to all, and with `unknown` after each loss of the connection. */
  hear(server: number, heard: (notice: Notice) => void): Disposable
}

/** The steps of a shared store. */
export interface Steps extends ServerSteps, SessionSteps, PresenceSteps, UserSteps, NoticeSteps, AsyncDisposable {
  readonly mail: MailSteps
  readonly transfers: TransferSteps
  readonly files: FileSteps
  readonly imports: ImportSteps
  /** Connects, or rejects with `data-format` (unknown schema, not durable) or `internal` (cannot be reached). */
  open(): Promise<void>
}
