import type { OspError } from '../errors.ts'
import type { receiptStates } from '../wire/protocol.ts'
import type { ListeningLink, SessionLink } from './links.ts'

/** A message that a server has received. */
export interface NewMessage {
  readonly sender: string
  /** 16 bytes that the sender has chosen. They identify the message together with the sender. */
  readonly id: Uint8Array
  /** The time for the recipients, in ms since 1970 by the server's wall clock. */
  readonly sentAt: number
  /** The start of the message's age, in ms of the server's age clock, which continues after restarts and never falls. */
  readonly storedAt: number
  /** The time at which its time to live ends, in ms since 1970 by the server's wall clock, if it has one. */
  readonly expiresAt?: number | undefined
  /** Whether the sender gets a receipt from each recipient (`receiptMailbox`). */
  readonly receipt?: boolean | undefined
  readonly content: Uint8Array
}

/** A message and its recipients, each named once. */
export interface AddressedMessage extends NewMessage {
  readonly recipients: readonly string[]
}

/** A message that waits in a mailbox. */
export interface StoredMessage extends Omit<NewMessage, 'storedAt'> {
  /** The number of the message in the mailbox; later messages have higher numbers. */
  readonly seq: number
}

/** The outcome of messages that leave a mailbox. */
export interface Settlement {
  readonly state: keyof typeof receiptStates
  /** The results for the senders, by seq, of up to `resultBytes` each. A missing result is empty. */
  readonly results?: ReadonlyMap<number, string> | undefined
  /** Set if only this device of the user has handled them (`MailboxDevices`). */
  readonly device?: string | undefined
}

/** The limits of mailboxes. */
export interface MailboxBounds {
  /** Messages of one mailbox, and bytes of their content, including messages that were set aside. */
  readonly messages: number
  readonly bytes: number
  /** Messages of all mailboxes together, counted once for each mailbox. */
  readonly allMessages: number
  /** Bytes of the content of the messages of all mailboxes, counted once for each mailbox. */
  readonly allBytes: number
  /** Maximum number of receipts that one sender expects or has not received. */
  readonly receipts: number
  /** Remembered ids of one sender, and of all senders. */
  readonly senderIds: number
  readonly allIds: number
  /**
   * The share of one sender in each of these limits, and in the free disk, in percent. Next to other senders the share
   * applies to the part that they leave free (`fitsShare`). 100 disables shares.
   */
  readonly sharePercent: number
  /** Bytes of the disk that messages must leave free. */
  readonly reserveBytes: number
}

/** A page of a list of messages. */
export interface MailboxPage {
  /** Lists the messages that were set aside, instead of waiting ones. */
  readonly aside: boolean
  readonly afterSeq: number
  readonly most: number
  readonly mostBytes: number
}

/** The number of messages of a mailbox that have expired. */
export interface Expired {
  readonly user: string
  readonly messages: number
}

/** The outcome of `MailboxStore.expireOverdue`. */
export interface Overdue {
  readonly expired: readonly Expired[]
  /** In ms since 1970 by the server's wall clock. */
  readonly nextAt: number | undefined
}

/** The messages and bytes of a mailbox. */
export interface MailboxLevel {
  readonly user: string
  readonly messages: number
  readonly bytes: number
}

/** A device of a user. */
export interface UserDevice {
  readonly user: string
  /** The name of the device. An empty name stands for the programs that listen without a device. */
  readonly device: string
}

/** A known device in the list of the devices of its user. */
export interface ListedDevice {
  readonly name: string
  /** The time at which it was last opened, in ms of the age clock, with the precision of `MailboxDevices.open`. */
  readonly seenAt: number
  /** The number of messages that it has not handled. */
  readonly waiting: number
  /** Whether it listens at any server. Only set by a store of several servers. */
  readonly isListening?: boolean | undefined
}

/**
 * The known devices of users. Each known device of a user receives every message of the mailbox. A user without known devices has
 * one recipient, and its name is ignored. The device with the empty name is known only while other devices are known.
 */
export interface MailboxDevices {
  /**
   * Makes these devices of a user known, and records that they listen at `now` (ms of the age clock; its precision is
   * `fixed.deviceSeenMs`). A new device has handled none of the messages that wait. Durable. If more than `most` devices with a name
   * would be known, none of these devices becomes known, and the call rejects with OspError `too-many-devices`.
   */
  open(user: string, devices: readonly string[], now: number, most: number): Promise<void>
  /**
   * Forgets the devices that were last opened before `before` (ms of the age clock). Removes the messages that all remaining devices
   * of a user have handled, if devices remain. Durable. Resolves with the forgotten devices.
   */
  forget(before: number): Promise<readonly UserDevice[]>
  /**
   * Forgets one device as `forget` does. Durable. Resolves with whether it was known. A store of several servers rejects with
   * OspError `device-listening` if the device listens at one of them.
   */
  remove(user: string, device: string): Promise<boolean>
  /** Returns the known devices of a user, sorted by name. */
  list(user: string): Promise<readonly ListedDevice[]>
}

/** A range of the storage that cannot be read. */
export interface Damage {
  /** The path of the file, or an equivalent. */
  readonly file: string
  readonly offset: number
  readonly bytes: number
  /** The range was the end of the file and is cut off: most likely a crash interrupted a write that was not acknowledged. */
  readonly atEnd: boolean
}

/**
 * The mailboxes of all users, and the ids of sent messages. Calls take effect in their order. A failed write or flush rejects
 * with `disk-full` (nothing was stored) or `internal` (the change may be stored; reopening the storage decides it).
 *
 * If the sender of a message asks for receipts, the step that removes the message from a mailbox, or sets it aside, also appends a
 * receipt. The receipts of a sender are in a separate mailbox (`receiptMailbox`). A receipt is a message from the sender to itself
 * (messageBody.ts). A receipt is never refused, because its space is reserved when the message is appended: until the receipt is
 * appended, the message counts twice in `allMessages`, and `receiptBytes` are added to its size in `allBytes`. A message that was set
 * aside produces no second receipt. A damaged message produces none.
 */
export interface MailboxStore {
  /**
   * Appends messages of one sender, in their order, each to the mailboxes of all its recipients or of none. Resolves when they
   * are durable, with one value for each message: its error, or `undefined` if it is stored. The first of these rules applies:
   * - the sender has used this id: with the same recipients and content the message has the outcome of the earlier one, and
   *   nothing is stored again; otherwise its error is `id-reused`;
   * - `by`, the link of the sender over which the messages came, is no longer its session's: `link-lost`. Only a store of several
   *   servers checks this. A server alone needs no check: its calls take effect in their order, so a message that came over an
   *   earlier link is stored or refused before the same message from a later link;
   * - too many ids are remembered, of the sender or beyond its share: `rate-limited`;
   * - it asks for receipts, and the receipts of the sender, waiting and expected, would exceed a limit: `too-many-receipts`;
   * - a mailbox, or all together, would exceed a limit, or the share of this sender: `mailbox-full` with the affected
   *   recipients;
   * - the content of all messages would exceed `allBytes`, or the share of this sender: `disk-full`;
   * - less than `reserveBytes` would be free, or the sender's share of the rest would be exceeded: `disk-full` for all messages
   *   to which no other error applies;
   * - the write or flush failed: `internal` (see above).
   * A message with an error other than `internal` has no effect, and its id is forgotten. The messages after it can be stored.
   */
  append(
    messages: readonly AddressedMessage[],
    bounds: MailboxBounds,
    by?: SessionLink,
  ): Promise<readonly (OspError | undefined)[]>
  /**
   * Returns the recipients for which `append` would refuse the message with `mailbox-full` now, or none if it would not refuse it
   * with that code. For several messages of one sender, each mailbox is checked for space for all of these messages, within the
   * share of a sender that has messages: if this returns no recipients, `append` refuses none of the messages with that code.
   */
  full(
    messages: readonly Pick<AddressedMessage, 'sender' | 'id' | 'content' | 'recipients' | 'receipt'>[],
    bounds: MailboxBounds,
  ): readonly string[]
  /**
   * Returns the messages of a mailbox after `afterSeq` in ascending order of their seqs, up to `most` messages and about
   * `mostBytes` of content, but at least one if one waits. Messages that were set aside or are damaged are left out; those whose
   * time to live has expired are included, and those that the device of `reader` has handled are left out. With `reader`, a store
   * of several servers returns no messages after another registration has
   * replaced this one (`LinkDirectory.listen`). The `handed` of the other registration therefore includes every message that was
   * returned for this one.
   */
  read(
    user: string,
    afterSeq: number,
    most: number,
    mostBytes: number,
    reader?: ListeningLink,
  ): Promise<readonly StoredMessage[]>
  /**
   * Removes those of these messages that exist in a mailbox. Durable. With `mayWait` the storage may wait a few milliseconds for
   * other changes, so that one flush serves all of them. By default the messages were handled. With `how.device`, only this device has
   * handled them: a message that other known devices have not answered stays in the mailbox, and a message that another device has
   * rejected is set aside; its receipt has the reason of the first such device. If the device is not known and others are, nothing
   * changes.
   */
  remove(user: string, seqs: readonly number[], mayWait?: boolean, how?: Settlement): Promise<void>
  /**
   * Sets rejected messages aside: they are not read any more, and stay until they expire. `results`: as in `Settlement`. Durable. With
   * `device`, only this device has rejected them: a message stays in the mailbox until all other known devices have answered it.
   */
  setAside(user: string, seqs: readonly number[], results?: Settlement['results'], device?: string): Promise<void>
  /** Returns messages as `read` does, within the same limits, for a program that does not receive them. */
  list(user: string, page: MailboxPage): Promise<readonly StoredMessage[]>
  /**
   * Returns those of these messages that were set aside to their mailbox: each becomes its last message, with a new seq, and its age
   * begins at `storedAt`. Its sender gets no further receipt. Durable. After a crash
   * before that, a message can be both in the mailbox and set aside.
   */
  return(user: string, seqs: readonly number[], storedAt: number): Promise<void>
  /**
   * Removes the messages that were stored before `messagesBefore`, and forgets the ids of messages that were stored before
   * `idsBefore` (ms of the age clock). Removes the messages whose time to live has expired at `wallTime` (ms since 1970).
   * Resolves with the expired messages of each mailbox.
   */
  expire(now: number, messagesBefore: number, idsBefore: number, wallTime?: number): Promise<readonly Expired[]>
  /**
   * Removes messages whose time to live has expired at `wallTime` from the mailboxes of the users for which `isFree` returns true.
   * Durable. Resolves with the expired messages of each mailbox, and the earliest time at which further ones expire, which is in the
   * past if not all of them were removed. A store of several servers ignores `isFree`, and removes the messages of users who listen
   * at no server. Only one of its servers removes them: `watch` reports the time to that server.
   */
  expireOverdue?(wallTime: number, isFree: (user: string) => boolean): Promise<Overdue>
  /** Returns the highest seq that any mailbox has had, or 0. A server that has a `LinkDirectory` does not call it. */
  lastSeq(): Promise<number>
  /** Returns the latest durable time of the age clock; 0 at first. */
  lastTime(): Promise<number>
  /** Returns every mailbox with messages. */
  levels(): Promise<readonly MailboxLevel[]>
  /**
   * Calls `appended` when messages in the mailbox of a user who listens at this server have become durable, including messages of
   * other servers, with a delay of at most about a second, until the result is disposed of. It may also be called without new
   * messages. Calls `overdue` with the wall-clock time at which `expireOverdue` is due. For stores of several servers: a single
   * server knows which messages it has appended.
   */
  watch?(appended: (user: string) => void, overdue?: (wallTime: number) => void): Disposable
  /**
   * Makes this server the reader of a mailbox that belongs to no user. Resolves with false if another server is the reader, until
   * that server has closed or was declared dead. If this server is the reader, `watch` covers the mailbox. For stores of several
   * servers.
   */
  attend?(user: string): Promise<boolean>
  /**
   * Calls `appended` when receipts of a user have become durable, until the result is disposed of. A store of several servers also
   * calls it for receipts that other servers append, unless their notice is lost.
   */
  watchReceipts(appended: (user: string) => void): Disposable
  /** The devices of users. A store without this property does not support devices. */
  readonly devices?: MailboxDevices | undefined
  /** Returns the damage found while and since the storage was opened. Damaged messages are removed from their mailboxes. */
  damages(): Promise<readonly Damage[]>
}
