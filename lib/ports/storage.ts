import type { Catalogue, Metadata } from './catalogue.ts'
import type { SessionLink } from './links.ts'
import type { Damage, MailboxStore } from './mailboxes.ts'
import type { DigestName, Platform } from './platform.ts'

/** What happens if a file of that name is already stored. */
export type OnConflict = 'replace' | 'rename' | 'reject'

/**
 * The data of a server. One process at a time may have it open, unless the store supports several servers. Such a store has the
 * optional methods that mention other servers. A method resolves after the effect that its comment states; a "durable" effect
 * survives a power failure. Methods reject with OspError `disk-full` if the store is full, `superseded` if the claim was taken
 * over, and `internal` after an unexpected fault.
 */
export interface Storage extends AsyncDisposable {
  /** Opens the storage, or rejects with `data-locked` (naming the owner) or `data-format`. */
  open(platform: Platform): Promise<void>
  readonly transfers: TransferStore
  readonly files: FileStore
  readonly mailboxes: MailboxStore
  /** The stored files. Without it, the server only receives files. */
  readonly catalogue?: Catalogue
}

/** An upload's identity: (user, name). It is *the same* upload if the other three agree. */
export interface NewTransfer {
  readonly user: string
  readonly name: string
  /** Bytes. */
  readonly size: number
  /** Opaque; the source's time of change in ms. */
  readonly modifiedAt: number
  readonly algorithm: DigestName
  /** The metadata that the stored file keeps. It does not identify the upload; that of the first claim applies. */
  readonly metadata?: Metadata | undefined
  /**
   * The name under which the file is to be stored, by default `name`. It does not identify the upload. If several claims
   * of the upload set it, that of the first claim applies.
   */
  readonly storeAs?: string | undefined
}

/** The present receiver of an upload. */
export interface Owner {
  /** The number of the link (`LinkDirectory.nextNode`). */
  readonly node: number
  readonly instance: number
  /** The client's session, 32 hexadecimal digits. */
  readonly session: string
  /** The number of the link's server, if a store of several servers needs it. The store sets it. */
  readonly server?: number
}

/** A point up to which the bytes of an upload are durable. */
export interface Checkpoint {
  readonly offset: number
  /** The digest of the first `offset` bytes; empty if it is not known. */
  readonly digest: Uint8Array
}

/** A file that an upload has stored: received, verified and published. */
export interface SentFile {
  /** The name under which it was sent. */
  readonly name: string
  /** The name under which it is stored; differs from `name` if existing names are kept by renaming, or by `NewTransfer.storeAs`. */
  readonly storedName: string
  /** Whether it replaced a file that was stored under this name. */
  readonly replaced: boolean
  readonly size: number
  readonly algorithm: DigestName
  /** Of the whole file, in hexadecimal. */
  readonly digest: string
  /** The message that notifies other users of the file. Its receipts have the same id. */
  readonly notice?: FileNotice
  /** The recipients of `notice` under whose names no user has ever connected, so the names may be wrong. Only set by clients. */
  readonly unseen?: readonly string[]
  /** The message to the users that the server itself notifies of the file, if the owner gets receipts. Only set by clients. */
  readonly notified?: FileNotice
}

/** A message with a reference to a stored file. It is appended to the mailboxes of its recipients when the file has been published. */
export interface FileNotice {
  /** The id of the message, 32 hexadecimal digits. */
  readonly id: string
  readonly recipients: readonly string[]
  /** Whether the owner gets receipts of the messages about the file, including the messages to users that the server itself notifies. */
  readonly receipt?: boolean
}

/** A stored file, and the user whose file it is. */
export interface StoredFile extends SentFile {
  readonly user: string
}

/** A stored file, and the version under which it was published. */
export interface VersionedFile extends StoredFile {
  /** As `Announcement.version`. Missing if it is not known. */
  readonly version?: string
}

/** The record of an unfinished upload. */
export interface TransferRecord extends NewTransfer {
  /** Rises with every claim; writes with an older token are refused. */
  readonly token: number
  readonly owner: Owner
  /** Sessions that lost the upload to a takeover, the latest last, up to `fixed.supersededSessions`. */
  readonly superseded: readonly string[]
  /** By rising offset. */
  readonly checkpoints: readonly Checkpoint[]
  /** Set once the digests have agreed: from then on, the upload can only be completed. */
  readonly verified?: StoredFile
  /** The version of the partial file when it was verified, which identifies the published file. */
  readonly verifiedStamp?: string
  /** The time of the last claim or checkpoint, as the caller gave it (`at`). */
  readonly updatedAt: number
}

/** A part of the quota of a user. */
export interface QuotaPart {
  /** In bytes, including those that are counted for each file and folder in addition to the content. */
  readonly growth: number
  /** Files and folders. */
  readonly entries: number
}

/** The totals of a user's records. */
export interface UnfinishedTotals {
  readonly uploads: number
  /** The sum of the offsets of their last checkpoints, and of the sizes of verified uploads. */
  readonly bytes: number
  /** What announced files of other servers that may not be published yet add to the quota. For stores of several servers. */
  readonly announced?: QuotaPart
  /** What published files have added to the quota so far, which only rises. For stores of several servers. */
  readonly added?: QuotaPart
}

/** The right to write the bytes and the record of an upload, until the next claim. */
export type Claim = Pick<TransferRecord, 'user' | 'name' | 'token'>

/** The other unfinished uploads of a user, at all servers. */
export interface OtherUploads {
  readonly uploads: number
  /** The number of uploads that an instance of a running server receives. */
  readonly held: number
  /** The sum of the reservations of the held uploads. */
  readonly reserved: QuotaPart
  /** What announced files of other names that may not be published yet add to the quota. */
  readonly announced: QuotaPart
  /** What published files have added to the quota so far, which only rises. */
  readonly added: QuotaPart
  /** The bytes of the uploads that are not held, as in `UnfinishedTotals`. */
  readonly bytes: number
}

/** The part of its user's quota that an upload needs. */
export interface ClaimReservation extends QuotaPart {
  /** Rejects with OspError `quota-exceeded` or `too-many-uploads` if the upload does not fit beside the other ones. */
  check(others: OtherUploads): Promise<void>
}

/** The largest sum, in a store of several servers, of what the files of a user have added to the quota and will add. */
export interface QuotaRoom extends QuotaPart {
  /** The bytes that are counted for an upload in addition to its content, unless a link at a running server holds it. */
  readonly entryBytes: number
  /** Returns the error for files that do not fit. */
  refusal(): Error
}

/** How an upload is claimed. */
export interface ClaimOptions {
  /** Drops an older record and begins at zero. */
  readonly fresh: boolean
  /** The former owner's link is still open: its session is superseded. */
  readonly takeOver: boolean
  readonly onConflict: OnConflict
  /** The time, in ms, at which the age of the upload starts. */
  readonly at: number
  /** The server itself completes a verified upload: `owner` is the one in the record, and its link may have ended. */
  readonly recovery?: boolean
  /**
   * For stores of several servers, since a single server has already reserved the quota. Missing if the upload has a reservation.
   */
  readonly reservation?: ClaimReservation
}

/** The reason why another server has ended a claim: another link has claimed the upload, or the upload was removed. */
export type ClaimEnd = 'superseded' | 'cancelled'

export type Claimed = { readonly claim: Claim; readonly record: TransferRecord } | { readonly completed: StoredFile }

/** A file that is about to be stored without an upload. */
export interface Announcement {
  readonly file: StoredFile
  /** The `UnnamedFile.version` of its content. */
  readonly version: string
  /** As in `NewTransfer`. */
  readonly modifiedAt: number
  /** The `UnnamedFile.source` of its content. */
  readonly source?: string
  /** As in `NewTransfer`. */
  readonly metadata?: Metadata | undefined
  /** What it adds to the quota of its user. For stores of several servers. */
  readonly adds?: QuotaPart
}

/** An announced file that has been published, or will never be. */
export interface SettledFile extends Pick<StoredFile, 'user' | 'name'> {
  /** The `UnnamedFile.source` of its content. */
  readonly source: string
  readonly isStored: boolean
}

/**
 * The records of unfinished uploads, and the completion markers of completed ones. The marker of a stored file that was not reported
 * is not replaced or removed, and a verified record is not replaced: `claim`, `verified`, `announce`, `announceAll` and `forget` then
 * change nothing and reject with EarlierFiles of `ospd/node`.
 */
export interface TransferStore {
  /**
   * Makes `owner` the only writer of an upload: durable. The first of these rules applies, in one step:
   * - the owner's link is no longer its session's, because the session has a later link (`LinkDirectory.openSession`), and this
   *   is no recovery: rejects `link-lost`. Only a store of several servers checks this, as well as the third rule;
   * - not fresh, and the owner's session is among the record's superseded ones: rejects `superseded`;
   * - a link of another session at another running server holds the upload: `file-busy` if fresh or not the same upload;
   *   otherwise that session is superseded as with `takeOver`. Another link of the owner's own session never holds it;
   * - fresh or not the same upload, and the record is verified: rejects with EarlierFiles;
   * - in a store of several servers, a recovery, and the record is not a verified one of the same upload: rejects `superseded`;
   * - fresh, or no record of the same upload; and a completion marker whose stored file is unchanged: `completed`, and the
   *   record, if there is one, is removed;
   * - in a store of several servers, a recovery without a record: rejects `superseded`;
   * - no record of this upload, `onConflict` is `reject` and a file is stored under `storeAs`: rejects `file-exists`;
   * - `storeAs` is an ancestor or descendant of a stored file, or the name is an ancestor or descendant of that of another record,
   *   or equals one of these after case folding if the store folds case: rejects `name-conflict`;
   * - no record of this upload, and the user or the store has the maximum number of records: rejects `too-many-uploads`;
   * - in a store of several servers, `reservation.check` rejects: its error. It is not called for a verified record, and not
   *   if a link at a running server holds the upload with a reservation that is large enough;
   * - not fresh, and a record of the same upload: that record, with a higher token and the new owner;
   * - not fresh, no record of this name, and a partial file of it that is not longer than the upload: a new record with one
   *   checkpoint, at the end of that file, without a digest;
   * - otherwise a new record without checkpoints, which replaces any older one and has a higher token.
   */
  claim(want: NewTransfer, owner: Owner, options: ClaimOptions): Promise<Claimed>
  /**
   * Replaces the checkpoints of a record (by rising offset): durable. The bytes before the last one must be durable already.
   * `at` is a time in ms as in `ClaimOptions`.
   */
  checkpoint(claim: Claim, checkpoints: readonly Checkpoint[], at: number): Promise<void>
  /** Marks the record as verified: durable. The caller publishes and completes the upload again after a crash. */
  verified(claim: Claim, file: StoredFile): Promise<void>
  /**
   * Replaces the verified record by a completion marker: atomic and durable. Resolves with the version of the stored file, if it
   * is known. A store that keeps no records of stored files forgets the marker after `keepNoteMs` of wall time.
   */
  complete(claim: Claim, keepNoteMs: number): Promise<string | undefined>
  /**
   * Replaces the record of this name, if there is one, by a completion marker of a file that is about to be stored without an
   * upload: durable. The marker applies once the file with its `UnnamedFile.version` is stored under its `storedName`. With
   * `by`, a store of several servers rejects with `link-lost` as in `claim`.
   */
  announce(file: Announcement, keepNoteMs: number, by?: SessionLink): Promise<void>
  /**
   * Like `announce` for each of these files, which have different names. In a store of several servers, earlier announced files
   * of these names that were not published yet are never published after this, and the files have the error of `room` if they do
   * not fit beside the other files of the user. Resolves with the error of each that failed. Without
   * this method the server calls `announce` for each.
   */
  announceAll?(
    files: readonly Announcement[],
    keepNoteMs: number,
    by?: SessionLink,
    room?: QuotaRoom,
  ): Promise<readonly (Error | undefined)[]>
  /**
   * Records which announced files were published. The others are never published after this. Has no effect for a file of a name
   * that was announced again. For stores of several servers.
   */
  settled?(files: readonly SettledFile[]): Promise<void>
  /**
   * Durably records that announced files were published. The server calls it before it lets their messages wait, since the files
   * can be removed meanwhile. For stores of one server.
   */
  published?(files: readonly Pick<StoredFile, 'user' | 'name'>[]): Promise<void>
  /**
   * Durably marks completed files as reported. In a store of several servers, another server can have stored a newer file of the
   * same name; that file is not marked if its `version` differs.
   */
  reported(files: readonly Pick<VersionedFile, 'user' | 'name' | 'version'>[]): Promise<void>
  /**
   * Returns the files that were stored and not reported. A store of several servers returns the files of this server and of servers
   * that have ended; with `ofEnded`, it returns only those of servers that have ended.
   */
  unreported(ofEnded?: boolean): Promise<readonly VersionedFile[]>
  /**
   * Returns whether a completed file was reported. If this method is missing, a file whose report failed is reported at the next
   * start.
   */
  isReported?(file: Pick<StoredFile, 'user' | 'name'>): boolean
  /**
   * Removes a record and invalidates its claims: durable. Resolves with whether there was one. A completion marker stays. With
   * `by`, the link whose request this is, a store of several servers rejects with `link-lost` as in `claim`. With `token`, only
   * the record of the claim with this token is removed.
   */
  remove(user: string, name: string, by?: SessionLink, token?: number): Promise<boolean>
  /**
   * Like `remove`, for a record that is not verified and whose `updatedAt` is before `before`. Resolves with that record. Without
   * `by`, the record stays if a link at another running server holds it.
   */
  expire(user: string, name: string, before: number, by?: SessionLink): Promise<TransferRecord | undefined>
  /**
   * Makes a stored file with this digest no longer count as the result of this upload: durable. Removes the completion marker, if it
   * is that of this upload and has this digest. The file stays, with its digest and metadata.
   */
  forget(want: NewTransfer, digest: string): Promise<void>
  /** Returns all records, or those of one user, in no particular order. */
  records(user?: string): AsyncIterable<TransferRecord>
  /** Returns one record, in constant time. Without this method the server searches `records(user)`. */
  record?(user: string, name: string): Promise<TransferRecord | undefined>
  /**
   * Returns the totals of a user's records, except those of these names, in a time that does not depend on the number of
   * records: with a quota, the server calls it at each START. Without this method the server adds up `records(user)`. A store of
   * several servers counts an upload with its full size while a link at another running server holds it.
   */
  unfinished?(user: string, except?: readonly string[]): Promise<UnfinishedTotals>
  /**
   * Returns the stored file of this upload if it has a completion marker and the file is unchanged: the same file with the same
   * size and modification time, or a file with the same size and digest. With `digest`, returns the file only if it has this
   * digest, and first gives the file the metadata of the upload, if the upload has any: durable.
   */
  completed(want: NewTransfer, digest?: string): Promise<StoredFile | undefined>
  /**
   * Records that no link holds the upload any more, so that its links at other servers can claim it like any free upload. Has no
   * effect after a later claim. Never rejects: a store that cannot record this retries until its server is closed or declared
   * dead. For stores of several servers.
   */
  release?(claim: Claim): Promise<void>
  /**
   * Returns the verified records that no link at a running server holds. The server completes them at its start, after
   * `LinkEvents.serverLost`, and at least once an hour. Without this method it does so with all verified records that are not open.
   */
  abandoned?(): Promise<readonly TransferRecord[]>
  /**
   * Calls `ended` soon after another server has ended a claim of this one, until the result is disposed of. A call may be
   * missing, since the writes of the former holder are refused in any case. For stores of several servers.
   */
  watch?(ended: (claim: Claim, reason: ClaimEnd) => void): Disposable
  /** Returns whether the store has nothing for this name: no record, no completion marker and no change in progress. */
  isUnknown?(user: string, name: string): boolean
  /** Returns the damage found while and since the storage was opened. Damaged records do not apply. */
  damages(): Promise<readonly Damage[]>
}

/** A partial file without a record: the record was damaged, or a crash occurred between removing the record and the file. */
export interface Orphan {
  /** The path of the file, or an equivalent. */
  readonly file: string
  readonly bytes: number
  readonly removed: boolean
}

/** The free and total space of a file system. */
export interface Space {
  /** The bytes that are available for writing. */
  readonly free: number
  /** The bytes that an empty file system would have available. */
  readonly total: number
  /** The block size. A file occupies whole blocks. */
  readonly blockBytes: number
}

/** Totals of the published files of a user. */
export interface Usage {
  /** Bytes of the files. */
  readonly bytes: number
  readonly files: number
  /** Folders below the user's folder; 0 in a store without folders. */
  readonly folders: number
}

/** The bytes of uploads, and the published files. */
export interface FileStore {
  /** Opens the partial file of a claimed upload, and creates it if it is missing. */
  open(claim: Claim): Promise<PartialFile>
  /**
   * Stores the content of a file that belongs to no upload and has no name yet: durable. Disposing of it removes the content
   * unless it was published, and so does the first sweep after a restart. `content` is not used after the promise has settled.
   * The stored file gets `modifiedAt` (ms) as its modification time.
   */
  create(user: string, content: readonly Uint8Array[], modifiedAt?: number): Promise<UnnamedFile>
  /** Like `create` for each of these contents. Without this method the server calls `create` for each. */
  createAll?(
    user: string,
    contents: readonly (readonly Uint8Array[])[],
    modifiedAt?: readonly number[],
  ): Promise<UnnamedFiles>
  /** Removes a partial file, if there is one; never a published file. */
  remove(user: string, name: string): Promise<void>
  /**
   * Finds partial files without a record. Removes those that are empty or were last written before `before` (ms of the wall
   * clock), and files of other kinds. A claim can continue the rest.
   */
  sweep(before: number): Promise<readonly Orphan[]>
  /** Resolves with whether a file is published under this name. */
  stored(user: string, name: string): Promise<boolean>
  /** Resolves with the result or the error of `stored` for each of these names. Without it the server calls `stored` for each. */
  storedAll?(user: string, names: readonly string[]): Promise<readonly (boolean | Error)[]>
  /** Resolves with the bytes of all published files of a user, or of the one with this name; 0 if there is none. */
  used(user: string, name?: string): Promise<number>
  /**
   * Returns the totals of a user's published files, in constant time: the server calls it at each START. The first call, and
   * one with `recount`, may count all files, in steps that do not delay other work; the totals then follow each `publish`.
   * Files that other programs add or remove change the totals at the next recount. Without this method the server calls
   * `used(user)`, and counts neither files nor folders.
   */
  usage?(user: string, recount?: boolean): Promise<Usage>
  /** Measures the file system that contains partial and published files. */
  space(): Promise<Space>
  /** Returns the disk space of a partial file; 0 if there is none. */
  heldBytes(user: string, name: string): Promise<number>
}

/** A file that belongs to no upload. */
export interface UnnamedFile extends Pick<PartialFile, 'publish'>, AsyncDisposable {
  /** Identifies the stored file that it becomes, even after a restart. */
  readonly version: string
  /**
   * Identifies the content while it has no name. With it, another server can remove the content, so that this server can no
   * longer publish it. For stores of several servers.
   */
  readonly source?: string
}

/** Files of one user that belong to no upload. */
export interface UnnamedFiles extends AsyncDisposable {
  /** The `UnnamedFile.version` of each, or the error if it was not stored. */
  readonly versions: readonly (string | Error)[]
  /** The `UnnamedFile.source` of each. */
  readonly sources?: readonly (string | undefined)[]
  /** Publishes some of the files, as `PartialFile.publish` does. Resolves with the result of each. */
  publish(places: readonly UnnamedPlace[], replace: boolean): Promise<readonly (boolean | Error)[]>
}

/** Where one of these files is published. */
export interface UnnamedPlace {
  /** The index of the file. */
  readonly index: number
  readonly storedName: string
}

/** The bytes of one upload that is not published yet. Calls that write are made one after another. */
export interface PartialFile extends AsyncDisposable {
  /** The number of bytes, which have no gap. */
  readonly length: number
  /** Writes `parts` one after another at `offset` (at most `length`). A rejection leaves length and disk space unchanged. */
  write(offset: number, parts: readonly Uint8Array[]): Promise<void>
  /** Reads up to `into.length` bytes at `offset`; fewer only at the end. Resolves with the number of bytes. */
  read(into: Uint8Array, offset: number): Promise<number>
  /** Makes all written bytes durable. After a rejection, only the bytes of earlier flushes are certain. */
  flush(): Promise<void>
  /** Truncates the file to `length` bytes. */
  truncate(length: number): Promise<void>
  /**
   * Moves the flushed file into place as `storedName`, and flushes the directories: durable. Resolves with false, without a
   * change, if a file of that name is stored already and `replace` is not set. A call after a crash finishes an interrupted
   * one. Rejects with `digest-mismatch` if the partial file is missing and the stored file does not have the size and digest
   * of the verified record.
   */
  publish(storedName: string, replace: boolean): Promise<boolean>
}
