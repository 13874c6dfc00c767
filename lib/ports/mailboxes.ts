/** A message as a server takes it in. */
export interface NewMessage {
  readonly sender: string
  /** 16 bytes of the sender's choice. With the sender they name the message. */
  readonly id: Uint8Array
  /** What its recipients are told: ms since 1970 by the server's wall clock. */
  readonly sentAt: number
  /** What age limits count from: ms of the server's age clock, which outlives restarts and never falls. */
  readonly storedAt: number
  readonly content: Uint8Array
}

/** A message that waits in a mailbox. */
export interface StoredMessage {
  /** Its place in the mailbox: later messages have higher ones. */
  readonly seq: number
  readonly sender: string
  readonly id: Uint8Array
  readonly sentAt: number
  readonly content: Uint8Array
}

/** What mailboxes hold at most. */
export interface MailboxBounds {
  /** Messages of one mailbox, and bytes of their content. What was set aside counts. */
  readonly messages: number
  readonly bytes: number
  /** Messages of all mailboxes together, each as often as it waits. */
  readonly allMessages: number
  /** Ids that are remembered of one sender, and of all. */
  readonly senderIds: number
  readonly allIds: number
  /**
   * What one sender may have of each of these, and of the free disk, in percent: alone so much, beside others as much less as
   * keeps the rest in the same proportion to what is left free (`fitsShare`). 100: no shares.
   */
  readonly sharePercent: number
  /** Bytes of the disk that messages leave free. */
  readonly reserveBytes: number
}

/** How many messages of a mailbox have passed their age limit. */
export interface Expired {
  readonly user: string
  readonly messages: number
}

/** How full a mailbox is. */
export interface MailboxLevel {
  readonly user: string
  readonly messages: number
  readonly bytes: number
}

/** Bytes of the storage that can't be read, where messages may have been. */
export interface Damage {
  /** The path of the file, or what stands for one. */
  readonly file: string
  readonly offset: number
  readonly bytes: number
  /** It was the end of what was written, and is cut off: most likely a crash has torn a write that nobody was told of. */
  readonly atEnd: boolean
}

/**
 * The mailboxes of all users, and the ids of what was sent. Calls are carried out in the order in which they are made.
 * A failed write or flush rejects with `disk-full` (certainly nothing was stored) or `internal` (perhaps it was; opening
 * the storage anew settles it).
 */
export interface MailboxStore {
  /**
   * Puts a message into the mailboxes of `recipients` (each named once): all or none, durable. The first of these that holds:
   * - the sender has used this id: with the same recipients and content it resolves once that message is durable, and
   *   nothing is stored again (if that append fails, this one does); with others it rejects `id-reused`;
   * - too many ids are remembered, of the sender or beyond its share: rejects `rate-limited`;
   * - a mailbox, or all together, would hold too much, or too much of this sender: rejects `mailbox-full` that names the
   *   recipients concerned;
   * - fewer than `reserveBytes` would be left, or of the rest less than the sender's share leaves: rejects `disk-full`.
   * A rejected append leaves nothing behind, and its id is forgotten.
   */
  append(message: NewMessage, recipients: readonly string[], bounds: MailboxBounds): Promise<void>
  /**
   * The messages of a mailbox behind `afterSeq` by rising seq, at most `most` of them and about `mostBytes` of content,
   * but one at least if one waits. What was set aside is left out, and so is what can't be read any more.
   */
  read(user: string, afterSeq: number, most: number, mostBytes: number): Promise<readonly StoredMessage[]>
  /** Removes messages of a mailbox, where they are there: durable. */
  remove(user: string, seqs: readonly number[]): Promise<void>
  /** Puts messages aside that their recipient has given up: they are not read any more, and stay until they expire. Durable. */
  setAside(user: string, seqs: readonly number[]): Promise<void>
  /**
   * Removes the messages that were stored before `messagesBefore`, and forgets the ids of what was stored before `idsBefore`
   * (ms of the age clock). Resolves with what has expired.
   */
  expire(now: number, messagesBefore: number, idsBefore: number): Promise<readonly Expired[]>
  /** The highest seq that any mailbox has had, 0 if none. */
  lastSeq(): Promise<number>
  /** The latest time of the age clock that it was told, as far as that was durable; 0 at first. */
  lastTime(): Promise<number>
  /** Every mailbox in which something waits. */
  levels(): Promise<readonly MailboxLevel[]>
  /** What could not be read since it was opened, the opening included. Messages in it are gone from their mailboxes. */
  damages(): Promise<readonly Damage[]>
  /** Calls `appended` for each mailbox that gets a message, after that is durable. */
  watch(appended: (user: string) => void): Disposable
}
