import { OspError } from './errors.ts'
import { nearestName, shown } from './options.ts'

/** Sizes in bytes. */
export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB

/** Values that the table and `fixed` share. */
const defaultKeepAliveMs = 15_000
const leastKeepAliveMs = 100
const mostKeepAliveMs = 3_600_000
const clientsMost = 20_000

const largest = Number.MAX_SAFE_INTEGER
const dayMs = 24 * 3_600_000

/** A limit of a server. Its name ends with its unit; without a unit it is a number of things. */
export interface Limit {
  readonly default: number
  /** Smallest and largest value; by default from 1 to the largest exact integer. */
  readonly range?: readonly [least: number, most: number]
  /** The flag of `ospd serve` that sets it, without `--`. */
  readonly flag?: string
  /** What it limits, as the help of its flag says it. */
  readonly describe: string
  /** What the help of its flag says instead of the default. */
  readonly unset?: string
}

function limit(value: number, describe: string, range?: Limit['range']): Limit {
  return { default: value, describe, ...(range && { range }) }
}

function flag(name: string, value: number, describe: string, range?: Limit['range']): Limit {
  return { ...limit(value, describe, range), flag: name }
}

/**
 * The limits of a server. `fixed` holds the limits of the protocol, and `clientLimits` those of a client. A bundler removes the call,
 * and with it the texts, from a client.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: it is a table
export const limitTable = /* @__PURE__ */ (() =>
  ({
    keepAliveMs: flag(
      'keep-alive',
      defaultKeepAliveMs,
      'interval within which each side sends at least a ping; a link is dead if nothing arrives for twice this time',
      [leastKeepAliveMs, mostKeepAliveMs],
    ),
    handshakeMs: flag('handshake-time', 10_000, 'maximum time from the connection to a complete HELLO'),
    backlog: flag(
      'backlog',
      4_096,
      'maximum number of connections that the system holds until the server accepts them',
      [1, 65_535],
    ),
    handshakes: flag(
      'handshakes',
      256,
      'maximum number of unfinished TLS handshakes; when exceeded, the oldest one of the busiest address is closed',
    ),
    chunkBytes: flag('chunk', 2 * MiB, 'maximum size of a chunk, the part of a file in one request', [1, 256 * MiB]),
    windowBytes: flag('window', 8 * MiB, 'maximum number of unacknowledged bytes of one upload', [1, 0xffff_ffff]),
    chunkMemoryBytes: limit(
      16 * MiB,
      'memory for chunks that wait to be written, for all links together, plus one chunk per link; incomplete frames may take the same amount again',
    ),
    smallFileBytes: flag('small-file', MiB, 'maximum size of a file that is sent in one request', [0, 16 * MiB]),
    checkpointBytes: flag('checkpoint-size', 8 * MiB, 'number of bytes after which an upload is flushed to disk'),
    checkpointMs: flag('checkpoint-time', 500, 'time after which the received bytes of an upload are flushed to disk'),
    checkpoints: limit(
      32,
      'maximum number of checkpoints of an upload, to continue from if its partial file is damaged',
    ),
    fileInstances: flag('file-instances', 200, 'maximum number of files that the server receives at once', [1, 0xffff]),
    uploadsPerLink: flag('uploads-per-link', 5, 'maximum number of concurrent uploads on one link', [1, 0xffff]),
    uploadsPerUser: flag('uploads-per-user', 100, 'maximum number of concurrent uploads of one user'),
    stalledMs: flag(
      'stalled-time',
      60_000,
      "time, divided by the number of the user's uploads, after which an upload without progress yields to a user with fewer uploads, and any upload to a user with at least two fewer",
    ),
    parkedUploads: limit(200, 'maximum number of uploads without a link that are kept open for their clients'),
    parkedMs: limit(5 * 60_000, 'time for which an upload without a link is kept open; its record is kept longer'),
    uploadAgeMs: flag('upload-age', 7 * dayMs, 'time without progress after which an unfinished upload is removed', [
      1_000,
      largest,
    ]),
    fileBytes: { ...flag('max-file-size', largest, 'maximum size of one file'), unset: 'no limit' },
    userBytes: {
      ...flag('quota', largest, "maximum total size of one user's files, plus --entry-size for each file and folder"),
      unset: 'no limit',
    },
    entryBytes: flag('entry-size', 4 * KiB, 'bytes counted toward --quota for each file and folder', [0, 256 * MiB]),
    userFiles: flag('user-files', 1_000_000, "maximum number of one user's files, folders and unfinished uploads"),
    links: flag('max-links', 2_000, 'maximum number of links after HELLO'),
    linksPerUser: flag('links-per-user', 200, 'maximum number of links of one user'),
    linksPerAddress: flag('links-per-address', 500, 'maximum number of links from one address (IPv6: one /64)'),
    pendingLinks: flag('pending-links', 500, 'maximum number of links before HELLO, in addition to --max-links'),
    refusedLinks: limit(200, 'maximum number of rejected connections that get the reason at once; others get none'),
    idleMs: flag('idle-time', 3_600_000, 'time after which a link without uploads, registration or requests is closed'),
    recipients: flag('max-recipients', 16, 'maximum number of recipients of one message', [1, 0xffff]),
    clients: flag('max-clients', 100, 'maximum number of clients registered for messages', [1, clientsMost]),
    registrationsPerUser: flag('registrations-per-user', 20, 'maximum number of registered clients of one user'),
    devicesPerUser: flag('devices-per-user', 8, 'maximum number of known devices of one user', [1, 64]),
    deviceAgeMs: flag('device-age', 30 * dayMs, 'time without listening after which a device is forgotten'),
    hellosPerSecond: flag(
      'hellos-per-second',
      200,
      'maximum number of HELLOs checked per second; at most half of them from one address; addresses that send many HELLOs share a separate half',
    ),
    failedHellosPerAddress: flag(
      'failed-hellos-per-address',
      60,
      'maximum number of refused HELLOs per minute from one address that are answered with the reason',
    ),
    failedHellosPerUser: flag(
      'failed-hellos-per-user',
      10,
      'maximum number of HELLOs with a wrong token per minute, for one user from one address, that are answered with the reason',
    ),
    logLinesPerUser: flag('log-lines-per-user', 10, 'maximum log lines per second about one user, averaged over 10 s'),
    logLinesPerAddress: flag(
      'log-lines-per-address',
      30,
      'maximum number of log lines per second about all users of one address, and about all refused links',
    ),
    refusalLinesPerAddress: flag(
      'refusal-lines-per-address',
      60,
      'maximum number of log lines per minute about refused links from one address',
    ),
    rememberedAddresses: limit(4_096, 'maximum number of addresses, and of users, whose latest rates are remembered'),
    framesPerSecond: flag('frames-per-second', 100_000, 'maximum number of frames read from one user per second'),
    bytesPerSecond: flag(
      'bytes-per-second',
      2 * 1024 * MiB,
      'maximum number of bytes that are read from one user per second, at least 64k',
      [64 * KiB, largest],
    ),
    workMsPerSecond: flag(
      'work-per-second',
      1_000,
      'maximum processing time per second for one user; busy users share it equally',
    ),
    registrationsPerSecond: flag('registrations-per-second', 50, 'maximum registrations read from one user per second'),
    gatherMs: limit(
      50,
      'time for which changes of the presence list are collected before they are sent, or 100 us for each client if that is longer',
      [1, 50],
    ),
    mailboxMessages: flag('mailbox-messages', 10_000, 'maximum number of messages waiting for one user'),
    mailboxBytes: flag('mailbox-size', 64 * MiB, 'maximum total size of the messages waiting for one user'),
    receipts: flag('receipts', 10_000, 'maximum number of receipts of one user, expected or not yet received'),
    waitingMessages: flag('waiting-messages', 1_000_000, 'maximum number of messages waiting for all users together'),
    messageStoreBytes: flag(
      'message-store-size',
      16 * 1024 * MiB,
      'maximum total size of the messages waiting for all users together, counted once for each recipient',
    ),
    senderSharePercent: flag(
      'sender-share',
      50,
      'maximum share of a mailbox, of all waiting messages, of the message ids and of the free disk space that one sender can use',
      [1, 100],
    ),
    messageAgeMs: flag('message-age', 30 * dayMs, 'time for which a message waits for its recipient'),
    senderIds: flag(
      'message-ids-per-user',
      500_000,
      'maximum number of message ids that are remembered for one sender',
    ),
    messageIds: flag('message-ids', 2_000_000, 'maximum number of message ids that are remembered for all senders'),
    // The range is well below `fixed.replies`, so that pings remain possible.
    deliveryWindow: limit(256, 'maximum number of unanswered messages to one recipient', [1, 256]),
    deliveryBytes: limit(256 * KiB, 'maximum size of the unanswered messages to one recipient; one is always allowed'),
    deliveryMemoryBytes: limit(32 * MiB, 'memory for unsent deliveries; beyond it each recipient may have one message'),
    readMemoryBytes: limit(32 * MiB, 'memory for content of stored files that is being read and sent'),
    deliveryMs: limit(10_000, 'time after which an unanswered delivery is repeated, once all other messages were sent'),
    reserveBytes: {
      ...flag('reserve', 64 * MiB, 'disk space that uploads leave free for messages', [0, largest]),
      unset: '64M or 5% of the disk, whichever is less',
    },
    reservePercent: limit(5, 'percentage of the disk that uploads leave free, if less than the reserve', [0, 100]),
    onUploadMs: limit(10_000, 'maximum duration of one call of `onUpload`, after which the upload is refused'),
    noteMs: limit(7 * dayMs, 'time for which a completed upload is remembered in memory'),
    messageIdMs: limit(7 * dayMs, 'time for which a message id is remembered', [1, 0xffff_ffff * 1_000]),
    unsentBytes: limit(4 * MiB, 'number of unsent bytes above which a link is closed as a slow consumer'),
    retryAfterMs: limit(
      1_000,
      'time after which a client should repeat a temporarily refused request',
      [1, 0xffff_ffff],
    ),
  }) as const satisfies Readonly<Record<string, Limit>>)()

/** A value for each limit of a server. */
export type Limits = { readonly [K in keyof typeof limitTable]: number }

const limits = /* @__PURE__ */ Object.entries<Limit>(limitTable) as [keyof Limits, Limit][]

export const defaultLimits = /* @__PURE__ */ Object.fromEntries(
  /* @__PURE__ */ limits.map(([name, limit]) => [name, limit.default]),
) as Limits

/** Returns the defaults, overridden by `chosen`. Throws OspError `usage` that names each invalid or unknown limit. */
export function limitsWith(chosen: Partial<Limits> = {}): Limits {
  if (typeof chosen !== 'object' || chosen === null || Array.isArray(chosen)) {
    throw new OspError('usage', 'limits must be an object of numbers')
  }
  const faults = limits.flatMap(([name, limit]) => faultOf(name, limit, chosen[name]))
  for (const name of Object.keys(chosen)) {
    if (Object.hasOwn(limitTable, name)) continue
    const nearest = nearestName(name, Object.keys(limitTable))
    faults.push(`limits.${name} is unknown${nearest === undefined ? '' : `; did you mean limits.${nearest}?`}`)
  }
  if (faults.length > 0) throw new OspError('usage', faults.join('; '))
  return Object.fromEntries(limits.map(([name, limit]) => [name, chosen[name] ?? limit.default])) as Limits
}

function faultOf(name: string, { range = [1, largest] }: Limit, value: unknown): string[] {
  const [least, most] = range
  if (value === undefined) return []
  if (Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most) return []
  return [`limits.${name} cannot be ${shown(value)}: it must be a whole number from ${least} to ${most}`]
}

/** The limits that a client applies to itself. */
export const clientLimits = {
  /** Maximum number of concurrent uploads, if the server allows as many. */
  uploads: 5,
  /** Maximum number of small files that are open or unanswered at once, and of bytes of their content. */
  smallFiles: 512,
  smallFilesBytes: 8 * MiB,
  /** Maximum number of small files, and of bytes of their content, in one request, and maximum size of such a file. */
  putFiles: 64,
  putFilesBytes: 128 * KiB,
  putFilesFileBytes: 16 * KiB,
  /** Sending time in ms above which the client first asks whether the server already has a small file. */
  askedMs: 10,
  /** Number of buffers of `bufferBytes` for chunks between the source and the socket, for all uploads together. */
  buffers: 8,
  bufferBytes: 2 * MiB,
  /** Time that the link takes to send one chunk, at the measured rate and at the rate that the caller sets. */
  chunkMs: 150,
  /** Maximum size of a chunk on a link without a measured rate, and minimum size of a chunk on any link. */
  firstChunkBytes: 32 * KiB,
  leastChunkBytes: KiB,
  /** Time without an acknowledgement after which the bytes in flight lower the measured rate. */
  stallMs: 1_000,
  /** Maximum number of unacknowledged bytes of all chunks: what the link carries in its round trip plus this time. */
  queuedMs: 300,
  /** Time beyond the round trip after which a chunk is considered to have waited in a queue of the path. */
  queueSeenMs: 100,
  /** Time for storing a file durably, which does not count as waiting in a queue of the path. */
  storeMs: 1_000,
  /** Time, or up to twice this time, for which the highest measured rate sets the number of unacknowledged bytes. */
  rateMemoryMs: 1_000,
  /** Maximum number of finished uploads in the list, and of failed tasks that a state keeps for a day. */
  finishedUploads: 1_000,
  failedTasks: 10_000,
  /** Maximum number of tasks that a state keeps, including ended ones, and of unfinished uploads of a client. */
  keptTasks: 100_000,
  /** Minimum number of digests of uploaded files that a state keeps. */
  knownDigests: 10_000,
  /** Time for which a completed or failed task is kept. */
  endedTaskMs: dayMs,
  /** Maximum number of times that an upload starts again because the digests differ, or because its source changed. */
  digestTries: 3,
  sourceTries: 3,
  /**
   * Maximum number of bytes read from a file or stream of unknown size. They are kept in a temporary file while they are sent.
   */
  unsizedBytes: 1_024 * MiB,
  /** Maximum number of contexts of a state directory. Beyond it, a new context replaces the oldest. */
  contexts: 1_000,
  /** Maximum number of references to files that a state directory keeps. Beyond it, a new reference replaces the oldest. */
  references: 1_000,
  /** Maximum length of a stream that is kept in a state directory, in bytes. */
  spooledBytes: 64 * GiB,
  /** Maximum number of unanswered chunks of one upload, even if the window of the server has room for more. */
  unansweredChunks: 4_096,
  /** Maximum number of files that are downloaded to a target at once. */
  downloads: 5,
  /** Maximum number of bytes of one download that are requested but not yet written or handed over. */
  downloadBytes: 8 * MiB,
  /** Maximum number of times that a download starts again because the file was replaced on the server. */
  versionTries: 3,
  /** Number of times that an upload goes back without progress before it counts as refused. */
  setbacks: 16,
  /** A client reconnects after a random time up to min(`reconnectMostMs`, `reconnectFirstMs` * 2^n). */
  reconnectFirstMs: 500,
  reconnectMostMs: 30_000,
  /** Duration of a link after which the n of `reconnectFirstMs` is 0 again, if the server has answered a request other than HELLO. */
  usefulLinkMs: 1_000,
  /** Duration of any link after which the n of `reconnectFirstMs` is 0 again. */
  goodLinkMs: 30_000,
  /** Time for which a closing client waits until the server has saved the received bytes. */
  closeMs: 1_000,
  /** Maximum time from dialling to HELLO_ACK. */
  handshakeMs: 10_000,
  /** Maximum number of addresses tried for one host name, and the delay between two attempts. */
  dialledAddresses: 8,
  attemptDelayMs: 250,
  /** Maximum number of unsent and unanswered messages, including those in an outbox, and of bytes of their content. */
  sends: 10_000,
  sendBytes: 64 * MiB,
  /** Maximum number of calls of a throwing handler for one message, and the delay between two calls, which doubles. */
  handlerTries: 16,
  handlerFirstMs: 100,
  handlerMostMs: 30_000,
} as const

/** The limits that protocol version 1 fixes. */
export const fixed = {
  /** The keep-alive interval until the server sets it, and the minimum and maximum interval that it may set. */
  defaultKeepAliveMs,
  leastKeepAliveMs,
  mostKeepAliveMs,
  /** Maximum size of a payload before HELLO_ACK. */
  helloFrameBytes: 4 * KiB,
  /** Maximum size of a payload to a client. */
  clientFrameBytes: 2 * MiB,
  /** Number of remembered replies, and one more than the REQs that may follow the oldest unanswered one. */
  replies: 512,
  /** Maximum number of messages in one REQ, and of bytes of their contents if it carries more than one. */
  batchMessages: 256,
  batchBytes: 64 * KiB,
  /** Timeouts after which a REQ is repeated on sockets that can lose frames (RFC 6298). */
  firstTimeoutMs: 1_000,
  leastTimeoutMs: 200,
  mostTimeoutMs: 30_000,
  /** Time after which a REQ, other than a chunk, is repeated on reliable sockets. */
  reliableTimeoutMs: 10_000,
  /** Number of counted tries after which a link is dead. */
  tries: 8,
  /** Maximum time between the sending and the arrival of a frame. */
  frameLifetimeMs: 60_000,
  /** Maximum number of chunks that the socket has and has not sent. */
  chunksHanded: 2,
  /** Maximum number of unsent replies and notifications of one link. Each takes memory in addition to its bytes. */
  unsentReplies: 16_384,
  /** Part of a keep-alive interval that a peer gets in addition before it is dead, because this process may have been frozen. */
  reprieve: 1 / 8,
  /** Minimum rate of an incomplete frame that takes longer than two keep-alive intervals. */
  leastFrameBytesPerSecond: 4 * KiB,
  /** Maximum time for an incomplete frame (a chunk takes about 0.15 s) while such frames take more memory than chunks may. */
  contendedFrameMs: 5_000,
  /** Maximum size of a file: the largest exact integer of JavaScript. */
  mostFileBytes: largest,
  /** Maximum size of file names, their parts, and user names, and maximum number of parts. */
  fileNameBytes: 1_024,
  namePartBytes: 255,
  nameParts: 32,
  userNameBytes: 64,
  /** Maximum length of a field of a log line; longer fields are cut. */
  logFieldCharacters: 2_048,
  /** Precision of the time at which a device was last seen. */
  deviceSeenMs: 3_600_000,
  /** Maximum number of superseded sessions that a transfer record remembers. */
  supersededSessions: 8,
  /** Maximum number of refused ids of a sender that a store of several servers remembers, so that no earlier link stores them. */
  refusedIds: 1_000,
  /** Maximum number of former holders that an instance remembers, each with the reason why it lost the instance. */
  instanceHolders: 4,
  /** Maximum size of the content of a message. */
  messageBytes: 64 * KiB,
  /** Maximum size of the result in a receipt, and of a receipt as a message. */
  resultBytes: 4 * KiB,
  receiptBytes: 4 * KiB + 256,
  /** Upper bound of the limit `clients`, so that the whole list fits into one frame. */
  clientsMost,
  /** Maximum number of users of one server. */
  users: 20_000,
  /** Maximum number of unfinished uploads of one user and of all, and of completion markers (the oldest are dropped first, in blocks). */
  unfinishedPerUser: 2_000,
  unfinishedUploads: 10_000,
  /** Maximum share of `unfinishedUploads` of one user, as with `senderSharePercent`, so that others can upload too. */
  unfinishedSharePercent: 50,
  notes: 100_000,
  /** Maximum number of keys in the metadata of a file, and of bytes of its keys and values. */
  metadataTexts: 32,
  metadataBytes: 4 * KiB,
  /** Maximum number of files in a LIST_FILES_ACK, and of bytes of its entries. */
  listedFiles: 1_000,
  listedBytes: MiB,
  /** Maximum length of the content of one reply of each link while `readMemoryBytes` is exhausted. */
  shortReadBytes: 64 * KiB,
  /**
   * Maximum number of START, CONTINUE, CANCEL and PUT_FILE requests of one link, and of one user, that are carried out at the same
   * time. A batch of small files counts each file, but waits only once.
   */
  requestsAtOnce: 16,
  requestsPerUserAtOnce: 32,
  /** Maximum number of files, and of bytes, in one batch of small files. A larger file forms a batch of its own. */
  smallFilesTogether: 128,
  smallBytesTogether: 512 * KiB,
  /** Maximum number of calls of `onUpload` at once; twice as many as one user can cause. */
  uploadHooks: 64,
  /** Maximum number of uploads that wait for an instance; a new one replaces the one without a request for longest. */
  waitingUploads: 10_000,
  /** Minimum time between two counts of a user's files; a slow count is repeated less often. */
  recountMs: 300_000,
  /** As `recountMs`, if other servers store files as well. */
  sharedRecountMs: 10_000,
  /** Maximum number of users whose stored bytes, or superseded sessions, are remembered; a new one replaces the oldest. */
  rememberedUsers: 10_000,
} as const
