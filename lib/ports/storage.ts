import type { Damage, MailboxStore } from './mailboxes.ts'
import type { DigestName, Platform } from './platform.ts'

/** What happens if a file of that name is already stored. */
export type OnConflict = 'replace' | 'rename' | 'reject'

/**
 * The data of a server. One process at a time may have it open.
 *
 * The promise of a method resolves after the effect that its comment states; a "durable" effect survives a power failure. A
 * full store rejects with OspError `disk-full`, a claim that was taken over with `superseded`, an unexpected fault with
 * `internal`.
 */
export interface Storage extends AsyncDisposable {
  /** Opens the storage, or rejects with `data-locked` (naming the owner) or `data-format`. */
  open(platform: Platform): Promise<void>
  readonly transfers: TransferStore
  readonly files: FileStore
  readonly mailboxes: MailboxStore
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
}

/** The present receiver of an upload. */
export interface Owner {
  readonly node: number
  readonly instance: number
  /** The client's session, 32 hexadecimal digits. */
  readonly session: string
}

/** `digest` is that of the first `offset` bytes, or empty if it was not known yet. */
export interface Checkpoint {
  readonly offset: number
  readonly digest: Uint8Array
}

/** A file that was received, verified and published. */
export interface StoredFile {
  readonly user: string
  /** The name under which it was sent. */
  readonly name: string
  /** The name under which it is stored; differs from `name` only if existing names are kept by renaming. */
  readonly storedName: string
  /** Whether it replaced a file that was stored under this name. */
  readonly replaced: boolean
  readonly size: number
  readonly algorithm: DigestName
  /** Of the whole file, in hexadecimal. */
  readonly digest: string
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
  /** Set after the digests agreed: from then on the upload can only be completed. */
  readonly verified?: StoredFile
  /** The size and modification time of the partial file when it was verified, by which a storage recognizes the file. */
  readonly verifiedStamp?: string
  /** The time of the last claim or checkpoint, as the caller gave it (`at`). */
  readonly updatedAt: number
}

/** Totals of a user's records. */
export interface UnfinishedTotals {
  readonly uploads: number
  /** Sum of the offsets of the last checkpoints. */
  readonly bytes: number
}

/** The right to write the bytes and the record of an upload, until the next claim. */
export interface Claim {
  readonly user: string
  readonly name: string
  readonly token: number
}

/** How an upload is claimed. */
export interface ClaimOptions {
  /** Drop an older record and begin at zero. */
  readonly fresh: boolean
  /** The former owner's link is still open: its session is superseded. */
  readonly takeOver: boolean
  readonly onConflict: OnConflict
  /** The time in ms that the age of the upload is counted from. */
  readonly at: number
}

export type Claimed = { readonly claim: Claim; readonly record: TransferRecord } | { readonly completed: StoredFile }

/** The records of uploads, and notes of completed ones. */
export interface TransferStore {
  /**
   * Makes `owner` the only writer of an upload: durable. The first of these that holds, in one step:
   * - not fresh, and the owner's session is among the record's superseded ones: rejects `superseded`;
   * - fresh, or no record of the same upload; and there is a note whose stored file is unchanged: `completed`, and
   *   the record, if there is one, is removed;
   * - no record of this upload, `onConflict` is `reject` and a file of this name is stored: rejects `file-exists`;
   * - the name is an ancestor or descendant of a stored file or of another record, or equals one of these after
   *   case folding where the store folds case: rejects `name-conflict`;
   * - no record of this upload, and there are as many records as are kept, of the user or in all: rejects `too-many-uploads`;
   * - not fresh, and there is a record of the same upload: that record, with a higher token and the new owner;
   * - not fresh, there is no record of this name, and a partial file of it, not longer than the upload: a new record with
   *   one checkpoint, at the end of that file, whose digest is not known;
   * - else a new record without checkpoints, in place of any older one, with a token higher than that one's.
   */
  claim(want: NewTransfer, owner: Owner, options: ClaimOptions): Promise<Claimed>
  /**
   * Puts `checkpoints` (by rising offset) in place of the record's: durable. The bytes before the last one must be durable
   * already. `at` is a time in ms as in `ClaimOptions`.
   */
  checkpoint(claim: Claim, checkpoints: readonly Checkpoint[], at: number): Promise<void>
  /** Marks the record as verified: durable. What follows (publish, complete) is done again after a crash. */
  verified(claim: Claim, file: StoredFile): Promise<void>
  /** Replaces the verified record by a note, kept for `keepNoteMs` of the platform's wall clock: atomic and durable. */
  complete(claim: Claim, keepNoteMs: number): Promise<void>
  /** Marks the file of a note as reported by the server, durably. */
  reported(file: Pick<StoredFile, 'user' | 'name'>): Promise<void>
  /** Returns the files whose upload was completed but not reported. */
  unreported(): Promise<readonly StoredFile[]>
  /** Removes a record: durable. True if there was one. Its claims are stale from then on. A note stays. */
  remove(user: string, name: string): Promise<boolean>
  /**
   * Removes a record as `remove` does, if it is not verified and its `updatedAt` is before `before`. Resolves with the removed
   * record.
   */
  expire(user: string, name: string, before: number): Promise<TransferRecord | undefined>
  /** Drops the note of a completed upload; the file stays. Durable. */
  forget(user: string, name: string): Promise<void>
  /** Returns all present records, or those of one user, in no particular order. */
  records(user?: string): AsyncIterable<TransferRecord>
  /**
   * Returns one record, at a cost that does not grow with the number of records. Where a storage lacks this method, the
   * server searches `records(user)`.
   */
  record?(user: string, name: string): Promise<TransferRecord | undefined>
  /**
   * Returns the totals of a user's records, at a cost that does not grow with their number: the server asks at each START
   * where there is a quota. Where a storage lacks this method, the server adds up `records(user)`.
   */
  unfinished?(user: string): Promise<UnfinishedTotals>
  /**
   * Returns the stored file of this upload while there is a note of it and the file is unchanged: with the same size
   * and modification time, or with the same size and digest.
   */
  completed(want: NewTransfer): Promise<StoredFile | undefined>
  /** Returns the damage found since, and while, the storage was opened. Damaged records do not apply. */
  damages(): Promise<readonly Damage[]>
}

/** A partial file without a record: the record was damaged, or a crash came between the removals of record and file. */
export interface Orphan {
  /** The path of the file, or an equivalent. */
  readonly file: string
  readonly bytes: number
  readonly removed: boolean
}

/** The free and total space of a file system. */
export interface Space {
  /** Bytes that are available for writing. */
  readonly free: number
  /** Bytes that would be available without any file. */
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
  /** The partial file of a claimed upload, made if it is not there. */
  open(claim: Claim): Promise<PartialFile>
  /** Removes a partial file, if there is one. Never a published one. */
  remove(user: string, name: string): Promise<void>
  /**
   * Finds partial files without a record. Removes those that are empty or were last written before `before` (ms of the
   * wall clock), and other files. A claim can continue the others.
   */
  sweep(before: number): Promise<readonly Orphan[]>
  /** Whether a published file lies under this name. */
  stored(user: string, name: string): Promise<boolean>
  /** Bytes of all published files of a user, or of the one of this name; 0 where there is none. */
  used(user: string, name?: string): Promise<number>
  /**
   * Returns the totals of a user's published files, at a cost that does not grow with their number: the server asks at each
   * START. The first call, and one with `recount`, may count them all, in steps that do not hold up other work; the totals
   * then follow each `publish`. Files that other programs add or remove change the totals at the next recount. Where a
   * storage lacks this method, the server calls `used(user)`, and counts no files and no folders.
   */
  usage?(user: string, recount?: boolean): Promise<Usage>
  /** Measures the file system of partial and published files. */
  space(): Promise<Space>
  /** Returns the disk space of a partial file; 0 if there is none. */
  heldBytes(user: string, name: string): Promise<number>
}

/** The bytes of one upload that is not published yet. Calls that write are made one after another. */
export interface PartialFile extends AsyncDisposable {
  /** Bytes that are there, from the first on without a gap. */
  readonly length: number
  /**
   * Writes `parts` one after another at `offset` (at most `length`). After a rejection `length` is as it was, and so is
   * the room.
   */
  write(offset: number, parts: readonly Uint8Array[]): Promise<void>
  /** Reads up to `into.length` bytes from `offset` on; fewer only at the end. Resolves with how many. */
  read(into: Uint8Array, offset: number): Promise<number>
  /** What was written before this call is durable. After a rejection only what earlier flushes covered is sure. */
  flush(): Promise<void>
  /** Cuts it to `length` bytes. */
  truncate(length: number): Promise<void>
  /**
   * Moves the flushed file into place as `storedName`, and flushes the directories: durable. Resolves with false,
   * and nothing is changed, if a file of that name is stored already and `replace` is not set. Called again after a
   * crash it finishes what was begun. Afterwards the partial file is gone. Rejects with `digest-mismatch` if the partial
   * file is missing and the stored file does not have the size and digest of the verified record.
   */
  publish(storedName: string, replace: boolean): Promise<boolean>
}
