/**
 * Whether a retry can succeed: `never`; `later`, with the same request; or `automatic`, after the step that the protocol names
 * for the code (CONTINUE, START, REGIST, or from the reported progress). The SDK takes that step itself.
 */
export type Retry = 'never' | 'later' | 'automatic'

interface ErrorRow {
  /** The number on the wire (docs/protocol.md, "Codes"); `undefined` where the code never travels. */
  readonly number: number | undefined
  readonly retry: Retry
  /** A sentence for a person who has seen nothing but this. */
  readonly text: string
}

const onWire = (number: number, retry: Retry, text: string): ErrorRow & { readonly number: number } => ({
  number,
  retry,
  text,
})
const local = (retry: Retry, text: string): ErrorRow => ({ number: undefined, retry, text })

/** Every error that a peer or the library can report. The single source for codes, numbers and sentences. */
export const errors = {
  malformed: onWire(1, 'never', 'what was received is not valid in this protocol'),
  'unsupported-version': onWire(2, 'never', 'the two sides share no protocol version'),
  unauthorized: onWire(3, 'never', 'the server does not let this user in'),
  'rate-limited': onWire(4, 'later', 'too much was asked in a short time'),
  'shutting-down': onWire(5, 'later', 'the server is shutting down'),
  internal: onWire(6, 'later', 'the server met a fault of its own'),
  'no-idle-instance': onWire(7, 'later', 'the server receives as many files as it can'),
  'too-many-uploads': onWire(8, 'later', 'this link or this user sends as many files as the server allows'),
  'file-busy': onWire(9, 'later', 'another upload of this name is under way'),
  superseded: onWire(10, 'never', 'another program of the same user has taken over'),
  'instance-lost': onWire(11, 'automatic', 'the server no longer holds this upload open'),
  'wrong-offset': onWire(12, 'automatic', 'the server stands at another progress'),
  'digest-mismatch': onWire(13, 'automatic', 'the received bytes have another digest than the sent ones'),
  'disk-full': onWire(14, 'later', 'the disk of the server is full'),
  'quota-exceeded': onWire(15, 'later', 'the quota of this user on the server is used up'),
  'too-large': onWire(16, 'never', 'it is larger than the server allows'),
  'bad-name': onWire(17, 'never', 'the name is not allowed'),
  'name-conflict': onWire(18, 'never', 'the name collides with another one on the server'),
  'file-exists': onWire(19, 'never', 'a file of this name is already on the server'),
  cancelled: onWire(20, 'never', 'the upload was cancelled'),
  'unsupported-digest': onWire(21, 'never', 'the server does not know this digest algorithm'),
  'clients-full': onWire(22, 'later', 'the server has as many clients as it can'),
  'not-registered': onWire(23, 'automatic', 'this link is not registered for messages'),
  'wrong-node': onWire(24, 'never', 'this instance serves another node'),
  'too-many-recipients': onWire(25, 'never', 'a message has at most sixteen recipients'),
  'unknown-user': onWire(26, 'never', 'the server knows no such user'),
  'mailbox-full': onWire(27, 'later', 'the mailbox of a recipient is full'),
  'id-reused': onWire(28, 'never', 'this message id was already used for another message'),
  'slow-consumer': onWire(29, 'later', 'the peer takes what it is sent too slowly'),
  'timed-out': onWire(30, 'later', 'the peer has not answered in time'),
  'storage-unusable': onWire(31, 'never', 'the storage of the server cannot accept this; the operator must repair it'),
  overloaded: onWire(32, 'later', 'too few file descriptors or too little memory is left'),
  'link-replaced': onWire(33, 'later', 'a later link of the same client has replaced this one'),
  'link-lost': local('later', 'the link to the server broke'),
  unreachable: local('later', 'the server cannot be reached'),
  closed: local('never', 'it is closed'),
  usage: local('never', 'it was called with something that it cannot take'),
  'source-missing': local('never', 'the source does not exist'),
  'source-unreadable': local('never', 'the source cannot be read'),
  'source-changed': local('never', 'the source keeps changing while it is being sent'),
  'data-locked': local('never', 'the data directory belongs to another process'),
  'data-format': local('never', 'the data directory was written by another version of ospd, or others could change it'),
} as const satisfies Record<string, ErrorRow>

/** The stable name of an error. */
export type ErrorCode = keyof typeof errors

/** What an error may carry besides its code and sentence. */
export interface ErrorDetails {
  /** The peer's wish: milliseconds until trying again can help; 0 or absent if it did not say. */
  readonly retryAfterMs?: number
  /** The true progress, in bytes, where the refused request was about a file's bytes. */
  readonly progress?: number
  /** The recipients whom a refused message concerns. */
  readonly recipients?: readonly string[]
  /** The sentence for a peer, if the message contains paths of this machine. */
  readonly publicText?: string
  readonly cause?: unknown
}

/** The only error class that this package throws on purpose; `code` is stable, `message` is a sentence for people. */
export class OspError extends Error {
  override readonly name = 'OspError'
  readonly code: ErrorCode
  readonly retry: Retry
  readonly retryAfterMs: number
  readonly progress: number | undefined
  readonly recipients: readonly string[] | undefined
  readonly publicText: string | undefined

  constructor(code: ErrorCode, text: string = errors[code].text, details: ErrorDetails = {}) {
    super(text, 'cause' in details ? { cause: details.cause } : undefined)
    this.code = code
    this.retry = errors[code].retry
    this.retryAfterMs = details.retryAfterMs ?? 0
    this.progress = details.progress
    this.recipients = details.recipients
    this.publicText = details.publicText
  }

  /** Returns the same error with other details and with this one as its cause. */
  with(details: ErrorDetails): OspError {
    const { retryAfterMs, progress, recipients, publicText } = this
    const kept = { retryAfterMs, ...(progress !== undefined && { progress }), ...(recipients && { recipients }) }
    return new OspError(this.code, this.message, {
      ...kept,
      ...(publicText !== undefined && { publicText }),
      cause: this,
      ...details,
    })
  }

  /** `error` itself if it is an OspError, else an `internal` one that carries it as its cause. */
  static from(error: unknown): OspError {
    if (error instanceof OspError) return error
    return new OspError('internal', error instanceof Error ? error.message : String(error), { cause: error })
  }
}

/** The number that stands for a code on the wire; a code that never travels becomes `internal`. */
export function numberOf(code: ErrorCode): number {
  return (errors[code] as ErrorRow).number ?? errors.internal.number
}

const byNumber: ReadonlyMap<number, ErrorCode> = new Map(
  (Object.keys(errors) as ErrorCode[]).flatMap((code) => {
    const { number } = errors[code] as ErrorRow
    return number === undefined ? [] : [[number, code] as const]
  }),
)

/** The code of a number from the wire; one of a later version reads as `internal`. */
export function codeOf(number: number): ErrorCode {
  return byNumber.get(number) ?? 'internal'
}
