import { OspError } from '../../errors.ts'
import type {
  AddressedMessage,
  Expired,
  ListedDevice,
  MailboxBounds,
  MailboxLevel,
  MailboxPage,
  Settlement,
  StoredMessage,
  UserDevice,
} from '../../ports/mailboxes.ts'
import type { ClusterLink, ClusterSessionLink } from './steps.ts'

/** A mailbox whose recipient listens at another server. */
export interface Wake {
  readonly server: number
  readonly user: string
}

export interface PostResult {
  /** For each message: its error (of `MailboxStore.append`), or undefined if it is stored. */
  readonly outcomes: readonly (PostRefusal | undefined)[]
  /** The number of messages that this server has stored since it entered, repetitions not counted. */
  readonly stored: number
  readonly wakes: readonly Wake[]
}

export interface PostRefusal {
  readonly code: 'link-lost' | 'id-reused' | 'rate-limited' | 'too-many-receipts' | 'mailbox-full' | 'disk-full'
  /** For `mailbox-full`: the affected recipients. */
  readonly recipients?: readonly string[]
}

/** A link that listens for a device of its user. */
export interface ClusterListeningLink extends ClusterSessionLink {
  /** As `ListeningLink.device`. */
  readonly device: string
}

export interface ListenResult {
  /** The number of this registration, which rises with each registration of the device. */
  readonly epoch: number
  /** Messages up to this seq may have been handed out before. */
  readonly handed: number
  /** The registration that this one has replaced, if it had not ended. */
  readonly former?: ClusterLink
}

/** A mailbox to which a device of its user listens at this server, or that this server attends. */
export interface ListenedMailbox extends UserDevice {
  readonly link: number
  readonly epoch: number
  readonly lastSeq: number
}

/** The state of a server's links in the store. */
export interface PolledLinks {
  /** The mailboxes that links of this server listen to. */
  readonly listened: readonly ListenedMailbox[]
  /** The links that are not the current links of their sessions. */
  readonly replaced: readonly number[]
  /** The earliest time at which a message to a user who listens at no server expires, in ms since 1970. */
  readonly nextExpiry?: number
  /** Whether the store has known devices. */
  readonly hasDevices: boolean
}

/** A page of a mailbox to read. With `epoch`, it is read for the device. */
export interface ReadPage {
  readonly user: string
  readonly afterSeq: number
  readonly device?: string | undefined
  readonly epoch?: number | undefined
}

/** Messages that leave a mailbox or are set aside in it. By default, they count as handled, or as rejected if they are set aside. */
export interface LeavingMessages {
  readonly user: string
  readonly seqs: readonly number[]
  readonly how?: Settlement | undefined
}

/** Returns the error of a device that cannot become known while servers with an earlier version of the schema run. */
export const devicesRefused = (): OspError =>
  new OspError(
    'too-many-devices',
    'a server of an earlier release is running, and would remove messages for all devices of a user; upgrade all servers first',
  )

/** The steps of mailboxes. */
export interface MailSteps {
  /**
   * Stores messages of any senders, in this order, by the rules of `MailboxStore.append`. A repeated message (same sender, id,
   * recipients and content) has the outcome of the earlier one. Within a mailbox, messages become visible in the order of their
   * seqs. `by` has the link of this server over which each message came: the session is checked as in `claim`, and a message that
   * is not stored already has the error `link-lost`. It also has this error if a link of the same user that was opened later has
   * had the message refused with `mailbox-full` or `rate-limited`. A message without a link is not checked.
   */
  post(
    server: number,
    messages: readonly AddressedMessage[],
    bounds: MailboxBounds,
    by?: readonly (ClusterSessionLink | undefined)[],
  ): Promise<PostResult>
  /**
   * As `MailboxStore.read`, for several mailboxes. With `epoch`, the result is empty unless this is the epoch of the present
   * registration of the device.
   */
  read(from: readonly ReadPage[], most: number, mostBytes: number): Promise<readonly (readonly StoredMessage[])[]>
  /** As `MailboxStore.remove`, for several mailboxes. Resolves with the users with new receipts. */
  remove(server: number, messages: readonly LeavingMessages[]): Promise<readonly string[]>
  /** As `MailboxStore.setAside`, for several mailboxes. Resolves with the users with new receipts. */
  setAside(server: number, messages: readonly LeavingMessages[]): Promise<readonly string[]>
  /** As `MailboxStore.list`. */
  list(user: string, page: MailboxPage): Promise<readonly StoredMessage[]>
  /** As `MailboxStore.return`. A repetition finds no messages, and changes nothing. */
  return(server: number, user: string, seqs: readonly number[], storedAt: number): Promise<void>
  /**
   * One part of `MailboxStore.expire`: at most `most` messages and `most` ids. `isDone` is true if nothing is left. `receipts`
   * are the users with new receipts.
   */
  expire(
    server: number,
    messagesBefore: number,
    idsBefore: number,
    most: number,
    wallTime?: number,
  ): Promise<{ readonly expired: readonly Expired[]; readonly receipts: readonly string[]; readonly isDone: boolean }>
  /**
   * Removes up to `most` messages whose time to live has expired at `wallTime`, and whose recipients listen at no server.
   * `receipts` are the users with new receipts.
   */
  expireOverdue(
    server: number,
    wallTime: number,
    most: number,
  ): Promise<{ readonly expired: readonly Expired[]; readonly receipts: readonly string[] }>
  /** As `MailboxStore.lastSeq`. */
  lastSeq(): Promise<number>
  /** The mailboxes with messages, the fullest first, at most `most`. */
  levels(most: number): Promise<readonly MailboxLevel[]>
  /**
   * Makes this link the one that receives the messages for its device. Rejects with `superseded` if the session has lost the device
   * to another one, and with `link-lost` if the server was declared dead or the session has another link. If repeated for
   * the same link, it resolves with the same epoch. Makes the device known again if it was removed meanwhile, and the device without
   * a name if others are known.
   */
  listen(link: ClusterListeningLink): Promise<ListenResult>
  /**
   * Ends the registration of a device with this epoch, if it is the present one. `handed`: the highest seq that was handed out in
   * this registration or before it (`ListenResult.handed`).
   */
  unlisten(device: UserDevice, epoch: number, handed: number): Promise<void>
  /** As `MailboxDevices.list`. */
  listDevices(user: string): Promise<readonly ListedDevice[]>
  /** As `MailboxDevices.open`. Makes the device without a name known as well if it listens. */
  openDevices(user: string, devices: readonly string[], now: number, most: number): Promise<void>
  /** As `MailboxDevices.forget`. `receipts` are the users with new receipts. */
  forgetDevices(
    server: number,
    before: number,
  ): Promise<{ readonly forgotten: readonly UserDevice[]; readonly receipts: readonly string[] }>
  /** As `MailboxDevices.remove`. `receipts` are the users with new receipts. */
  removeDevice(
    server: number,
    device: UserDevice,
  ): Promise<{ readonly isRemoved: boolean; readonly receipts: readonly string[] }>
  /**
   * Makes this server the reader of a mailbox without a link (`ListenedMailbox.link` is 0), unless a server that was not declared
   * dead is its reader. Resolves with whether this server is the reader.
   */
  attend(server: number, user: string): Promise<boolean>
  /**
   * Resolves with the registrations of this server, with those of its `links` that are not the current links of their sessions, and
   * with the time of the next `expireOverdue`.
   */
  poll(server: number, links: readonly number[]): Promise<PolledLinks>
}
