/**
 * Whether a retry can succeed: `never`; `later`, with the same request; or `automatic`, after the step that the protocol names
 * for the code (CONTINUE, START, REGIST, or from the reported progress), which the SDK takes itself.
 */
export type Retry = 'never' | 'later' | 'automatic'

/** An error with its number on the wire (docs/protocol.md, "Codes") and a self-contained sentence for people. */
const onWire = (number: number, retry: Retry, text: string) => ({ number, retry, text }) as const
/** An error that is never sent. */
const local = (retry: Retry, text: string) => ({ number: undefined, retry, text }) as const

/** All errors that a peer or the library can report: codes, numbers and sentences are defined here only. */
export const errors = {
  malformed: onWire(1, 'never', 'the peer sent data that violates the protocol'),
  'unsupported-version': onWire(2, 'never', 'client and server have no protocol version in common'),
  unauthorized: onWire(3, 'never', 'the server rejected the user name or token'),
  'rate-limited': onWire(4, 'later', 'too many requests in a short time'),
  'shutting-down': onWire(5, 'later', 'the server is shutting down'),
  internal: onWire(6, 'later', 'an internal error occurred'),
  'no-idle-instance': onWire(7, 'later', 'the server is already transferring as many files as it can'),
  'too-many-uploads': onWire(8, 'later', 'this link or user is already sending as many files as the server allows'),
  'file-busy': onWire(9, 'later', 'another request about a file of this name is in progress'),
  superseded: onWire(10, 'never', 'another program of the same user has taken over'),
  'instance-lost': onWire(11, 'automatic', 'the server no longer has this upload open'),
  'wrong-offset': onWire(12, 'automatic', 'the offset differs from the progress on the server'),
  'digest-mismatch': onWire(13, 'automatic', 'the digest of the received bytes differs from that of the file'),
  'disk-full': onWire(14, 'later', "the server's disk is full"),
  'quota-exceeded': onWire(15, 'later', "this user's quota is exhausted"),
  'too-large': onWire(16, 'never', 'the file or message is larger than the server allows'),
  'bad-name': onWire(17, 'never', 'the name is not allowed'),
  'name-conflict': onWire(18, 'never', 'the name conflicts with another name on the server'),
  'file-exists': onWire(19, 'never', 'a file with this name already exists on the server'),
  cancelled: onWire(20, 'never', 'the upload was cancelled'),
  'unsupported-digest': onWire(21, 'never', 'the server does not support this digest algorithm'),
  'clients-full': onWire(22, 'later', 'the server already has the maximum number of registered clients'),
  'not-registered': onWire(23, 'automatic', 'this link is not registered for messages'),
  'wrong-node': onWire(24, 'never', 'this instance is assigned to another link'),
  'too-many-recipients': onWire(25, 'never', 'the message has more recipients than the server allows'),
  'unknown-user': onWire(26, 'never', 'unknown user'),
  'mailbox-full': onWire(27, 'later', 'the mailbox of a recipient is full'),
  'id-reused': onWire(28, 'never', 'this message id was already used for another message'),
  'slow-consumer': onWire(29, 'later', 'the peer reads too slowly'),
  'timed-out': onWire(30, 'later', 'the peer did not answer in time'),
  'storage-unusable': onWire(31, 'never', 'the server cannot store this; its operator must repair the storage'),
  overloaded: onWire(32, 'later', 'the server is short of file descriptors or memory'),
  'link-replaced': onWire(33, 'later', 'a newer link of the same client has replaced this one'),
  'no-such-file': onWire(34, 'never', 'the server has no file with this name'),
  'version-changed': onWire(35, 'automatic', 'the file on the server was replaced'),
  gone: onWire(36, 'never', 'the file is no longer available'),
  'upload-rejected': onWire(37, 'never', 'the server refuses this file'),
  'too-many-receipts': onWire(38, 'later', 'too many receipts of the sender are waiting or expected'),
  'too-many-devices': onWire(39, 'never', 'the user already has the maximum number of devices'),
  'device-listening': onWire(40, 'never', 'a program is listening for this device; end it first'),
  'link-lost': local('later', 'the connection to the server was lost'),
  unreachable: local('later', 'the server cannot be reached'),
  closed: local('never', 'already closed'),
  usage: local('never', 'invalid argument'),
  'outbox-full': local('later', 'the outbox is full'),
  'source-missing': local('never', 'the source file does not exist'),
  'source-unreadable': local('never', 'the source file cannot be read'),
  'source-changed': local('never', 'the source file keeps changing while it is being sent'),
  'target-exists': local('never', 'the target file already exists'),
  'target-unwritable': local('never', 'the target file cannot be written'),
  'data-locked': local('never', 'another process is using the data directory'),
  'data-format': local(
    'never',
    'the data directory was written by another version of ospd, or other users can change it',
  ),
} as const

/** The stable code of an error. */
export type ErrorCode = keyof typeof errors

/** The codes of a connection that could not be made, or that ended before an answer arrived. */
export const connectionErrors: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'unreachable',
  'link-lost',
  'link-replaced',
  'timed-out',
  'shutting-down',
])

/** Details of an error in addition to its code and sentence. */
export interface ErrorDetails {
  /** Milliseconds after which the peer suggests a retry; 0 or absent if it suggests none. */
  readonly retryAfterMs?: number | undefined
  /** The progress on the server in bytes, if the refused request was about the bytes of a file. */
  readonly progress?: number | undefined
  /** The recipients that caused the refusal of a message. */
  readonly recipients?: readonly string[] | undefined
  /** The part of the message after the address of the server, if it names one. */
  readonly reason?: string | undefined
  /** The sentence for the peer, if the message contains paths of this machine. */
  readonly publicText?: string | undefined
  /** Whether the peer has sent the error. */
  readonly fromPeer?: boolean | undefined
  readonly cause?: unknown
}

/** The error class of this package: `code` is stable, `message` is a sentence for people. */
export class OspError extends Error {
  override readonly name = 'OspError'
  readonly code: ErrorCode
  readonly retry: Retry
  readonly retryAfterMs: number
  readonly progress: number | undefined
  readonly recipients: readonly string[] | undefined
  readonly reason: string | undefined
  readonly publicText: string | undefined
  readonly fromPeer: boolean

  constructor(code: ErrorCode, text: string = errors[code].text, details: ErrorDetails = {}) {
    super(text, 'cause' in details ? { cause: details.cause } : undefined)
    this.code = code
    this.retry = errors[code].retry
    this.retryAfterMs = details.retryAfterMs ?? 0
    this.progress = details.progress
    this.recipients = details.recipients
    this.reason = details.reason
    this.publicText = details.publicText
    this.fromPeer = details.fromPeer ?? false
  }

  /** Returns a copy of this error with `details` merged in and this error as its cause. */
  with(details: ErrorDetails): OspError {
    return new OspError(this.code, this.message, { ...this, cause: this, ...details })
  }

  /** Returns `error` if it is an OspError, and otherwise an `internal` error with it as the cause. */
  static from(error: unknown): OspError {
    if (error instanceof OspError) return error
    return new OspError('internal', error instanceof Error ? error.message : String(error), { cause: error })
  }
}

/** Returns the wire number of a code, or the number of `internal` if the code is never sent. */
export function numberOf(code: ErrorCode): number {
  return errors[code].number ?? errors.internal.number
}

const byNumber: ReadonlyMap<number | undefined, ErrorCode> = new Map(
  (Object.keys(errors) as ErrorCode[]).map((code) => [errors[code].number, code]),
)

/** Returns the code for a wire number, or `internal` if a later version defined the number. */
export function codeOf(number: number): ErrorCode {
  return byNumber.get(number) ?? 'internal'
}
