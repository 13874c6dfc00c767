import { OspError } from './errors.ts'

/** Sizes in bytes. */
export const KiB = 1024
export const MiB = 1024 * KiB

/** Ranges that the table and `fixed` share. */
const leastKeepAliveMs = 100
const mostKeepAliveMs = 3_600_000
const clientsMost = 20_000
const deliveriesMost = 256

/** A limit of a server. Its name ends with its unit; without a unit it is a number of things. */
export interface Limit {
  readonly default: number
  /** Smallest and largest value; by default from 1 to the largest exact integer. */
  readonly range?: readonly [least: number, most: number]
  /** The flag of `ospd serve` that sets it, without `--`. */
  readonly flag?: string
  /** What it limits, as the help of its flag says it. A text in brackets replaces the default in that help. */
  readonly describe: string
}

/** The limits of a server. `fixed` holds the limits of the protocol, and `clientLimits` those of a client. */
export const limitTable = {
  keepAliveMs: {
    default: 15_000,
    range: [leastKeepAliveMs, mostKeepAliveMs],
    flag: 'keep-alive',
    describe:
      'interval in which each side sends at least a ping; a link is dead if nothing arrives for twice this time',
  },
  handshakeMs: {
    default: 10_000,
    flag: 'handshake-time',
    describe: 'maximum time from the connection to a complete HELLO',
  },
  handshakes: {
    default: 256,
    describe:
      'maximum number of unfinished TLS handshakes; beyond it, a new one ends the oldest of the address that has the most',
  },
  chunkBytes: {
    default: MiB,
    range: [1, 256 * MiB],
    flag: 'chunk',
    describe: 'maximum size of a chunk, the part of a file in one request',
  },
  windowBytes: {
    default: 8 * MiB,
    range: [1, 0xffff_ffff],
    flag: 'window',
    describe: 'maximum number of unacknowledged bytes of one upload',
  },
  chunkMemoryBytes: {
    default: 16 * MiB,
    describe:
      'memory for chunks that wait to be written, for all links together, plus one chunk per link; incomplete frames may take the same amount again',
  },
  checkpointBytes: {
    default: 8 * MiB,
    flag: 'checkpoint-size',
    describe: 'number of bytes after which an upload is flushed to disk',
  },
  checkpointMs: {
    default: 500,
    flag: 'checkpoint-time',
    describe: 'time after which the received bytes of an upload are flushed to disk',
  },
  checkpoints: {
    default: 32,
    describe: 'maximum number of checkpoints of one upload, from which it continues if its partial file is damaged',
  },
  fileInstances: {
    default: 200,
    range: [1, 0xffff],
    flag: 'file-instances',
    describe: 'maximum number of files that the server receives at the same time',
  },
  uploadsPerLink: {
    default: 5,
    range: [1, 0xffff],
    flag: 'uploads-per-link',
    describe: 'maximum number of concurrent uploads on one link',
  },
  uploadsPerUser: {
    default: 100,
    flag: 'uploads-per-user',
    describe: 'maximum number of concurrent uploads of one user',
  },
  stalledMs: {
    default: 60_000,
    flag: 'stalled-time',
    describe:
      "time, divided by the number of the user's uploads, after which an upload without progress yields to a user with fewer uploads, and any upload to a user with at least two fewer",
  },
  parkedUploads: {
    default: 200,
    describe: 'maximum number of uploads without a link that are kept open for their clients',
  },
  parkedMs: {
    default: 5 * 60_000,
    describe: 'time for which an upload without a link is kept open; its record is kept longer',
  },
  uploadAgeMs: {
    default: 7 * 24 * 3_600_000,
    range: [1_000, Number.MAX_SAFE_INTEGER],
    flag: 'upload-age',
    describe: 'time for which an unfinished upload is kept without progress',
  },
  fileBytes: {
    default: Number.MAX_SAFE_INTEGER,
    flag: 'max-file-size',
    describe: 'maximum size of one file [no limit]',
  },
  userBytes: {
    default: Number.MAX_SAFE_INTEGER,
    flag: 'quota',
    describe: "maximum total size of one user's files, plus --entry-size for each file and folder [no limit]",
  },
  entryBytes: {
    default: 4 * KiB,
    range: [0, 256 * MiB],
    flag: 'entry-size',
    describe: 'number of bytes that each file and folder counts toward --quota, in addition to its content',
  },
  userFiles: {
    default: 1_000_000,
    flag: 'user-files',
    describe: "maximum number of one user's files and folders, including unfinished uploads",
  },
  links: { default: 2_000, flag: 'max-links', describe: 'maximum number of links after HELLO' },
  linksPerUser: { default: 200, flag: 'links-per-user', describe: 'maximum number of links of one user' },
  linksPerAddress: {
    default: 500,
    flag: 'links-per-address',
    describe: 'maximum number of links from one address (IPv6: one /64)',
  },
  pendingLinks: {
    default: 500,
    flag: 'pending-links',
    describe: 'maximum number of links before HELLO, in addition to --max-links',
  },
  refusedLinks: {
    default: 200,
    describe:
      'maximum number of rejected connections that receive the reason at the same time; others are closed at once',
  },
  idleMs: {
    default: 3_600_000,
    flag: 'idle-time',
    describe: 'time after which a link without uploads, registration and requests is closed',
  },
  recipients: {
    default: 16,
    range: [1, 0xffff],
    flag: 'max-recipients',
    describe: 'maximum number of recipients of one message',
  },
  clients: {
    default: 100,
    range: [1, clientsMost],
    flag: 'max-clients',
    describe: 'maximum number of clients registered for messages',
  },
  registrationsPerUser: {
    default: 20,
    flag: 'registrations-per-user',
    describe: 'maximum number of registered clients of one user',
  },
  hellosPerSecond: {
    default: 200,
    describe:
      'maximum number of HELLOs that are checked per second; up to half of them from one address, plus half as many from busy addresses',
  },
  failedHellosPerAddress: {
    default: 60,
    flag: 'failed-hellos-per-address',
    describe: 'maximum number of refused HELLOs per minute from one address that are answered with the reason',
  },
  failedHellosPerUser: {
    default: 10,
    flag: 'failed-hellos-per-user',
    describe:
      'maximum number of HELLOs with a wrong token per minute, for one user from one address, that are answered with the reason',
  },
  logLinesPerUser: {
    default: 10,
    flag: 'log-lines-per-user',
    describe: 'maximum number of log lines per second about one user, averaged over ten seconds',
  },
  logLinesPerAddress: {
    default: 30,
    flag: 'log-lines-per-address',
    describe: 'maximum number of log lines per second about all users of one address, and about all refused links',
  },
  refusalLinesPerAddress: {
    default: 60,
    flag: 'refusal-lines-per-address',
    describe: 'maximum number of log lines per minute about refused links from one address',
  },
  rememberedAddresses: {
    default: 4_096,
    describe: 'maximum number of addresses, and of users, whose rates are remembered; a new one replaces the oldest',
  },
  framesPerSecond: {
    default: 100_000,
    flag: 'frames-per-second',
    describe: 'maximum number of requests and replies that are read from one user per second',
  },
  bytesPerSecond: {
    default: 2 * 1024 * MiB,
    range: [64 * KiB, Number.MAX_SAFE_INTEGER],
    flag: 'bytes-per-second',
    describe: 'maximum number of bytes that are read from one user per second, at least 64k',
  },
  workMsPerSecond: {
    default: 1_000,
    flag: 'work-per-second',
    describe: "processing time per second for one user's requests; busy users share it equally",
  },
  registrationsPerSecond: {
    default: 50,
    flag: 'registrations-per-second',
    describe: 'maximum number of registration requests that are read from one user per second',
  },
  gatherMs: {
    default: 50,
    range: [1, 50],
    describe: 'time for which changes of the presence list are collected before they are sent',
  },
  mailboxMessages: {
    default: 10_000,
    flag: 'mailbox-messages',
    describe: 'maximum number of messages waiting for one user',
  },
  mailboxBytes: {
    default: 64 * MiB,
    flag: 'mailbox-size',
    describe: 'maximum total size of the messages waiting for one user',
  },
  waitingMessages: {
    default: 1_000_000,
    flag: 'waiting-messages',
    describe: 'maximum number of messages waiting for all users together',
  },
  senderSharePercent: {
    default: 50,
    range: [1, 100],
    flag: 'sender-share',
    describe:
      'maximum share of a mailbox, of all waiting messages, of the message ids and of the free disk space that one sender can use',
  },
  messageAgeMs: {
    default: 30 * 24 * 3_600_000,
    flag: 'message-age',
    describe: 'time for which a message waits for its recipient',
  },
  senderIds: {
    default: 500_000,
    flag: 'message-ids-per-user',
    describe: 'maximum number of message ids that are remembered for one sender',
  },
  messageIds: {
    default: 2_000_000,
    flag: 'message-ids',
    describe: 'maximum number of message ids that are remembered for all senders together',
  },
  deliveryWindow: {
    default: 32,
    range: [1, deliveriesMost],
    describe: 'maximum number of unanswered deliveries to one recipient',
  },
  deliveryBytes: {
    default: 256 * KiB,
    describe: 'maximum total size of the unanswered deliveries to one recipient; one delivery is always allowed',
  },
  deliveryMemoryBytes: {
    default: 32 * MiB,
    describe: 'memory for unsent deliveries to all recipients; beyond it each recipient may have one message',
  },
  deliveryMs: {
    default: 10_000,
    describe: 'time after which an unanswered delivery is repeated, once all other messages have been sent',
  },
  reserveBytes: {
    default: 64 * MiB,
    range: [0, Number.MAX_SAFE_INTEGER],
    flag: 'reserve',
    describe: 'disk space that uploads leave free for messages [64M or 5% of the disk, whichever is less]',
  },
  reservePercent: {
    default: 5,
    range: [0, 100],
    describe: 'percentage of the disk that uploads leave free, if that is less than the reserve in bytes',
  },
  noteMs: {
    default: 7 * 24 * 3_600_000,
    describe: 'time for which a completed upload is remembered, to answer a repeated FILE_MD5_REQ',
  },
  messageIdMs: {
    default: 7 * 24 * 3_600_000,
    range: [1, 0xffff_ffff * 1_000],
    describe: 'time for which a message id is remembered',
  },
  unsentBytes: { default: 4 * MiB, describe: 'number of unsent bytes above which a link is closed as a slow consumer' },
  retryAfterMs: {
    default: 1_000,
    range: [1, 0xffff_ffff],
    describe: 'time after which a client should repeat a request that was refused temporarily',
  },
} as const satisfies Readonly<Record<string, Limit>>

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
    if (!Object.hasOwn(limitTable, name)) faults.push(`limits.${name} is unknown`)
  }
  if (faults.length > 0) throw new OspError('usage', faults.join('; '))
  return Object.fromEntries(limits.map(([name, limit]) => [name, chosen[name] ?? limit.default])) as Limits
}

function faultOf(
  name: string,
  { range: [least, most] = [1, Number.MAX_SAFE_INTEGER] }: Limit,
  value: unknown,
): string[] {
  if (value === undefined) return []
  if (Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most) return []
  const shown =
    typeof value === 'string' ? JSON.stringify(value) : Object(value) === value ? 'an object' : String(value)
  return [`limits.${name} cannot be ${shown}: it must be a whole number from ${least} to ${most}`]
}

/** The limits that a client applies to itself. */
export const clientLimits = {
  /** Maximum number of concurrent uploads, if the server allows as many. */
  uploads: 5,
  /** Number of buffers of `bufferBytes` for chunks between the source and the socket, for all uploads together. */
  buffers: 8,
  bufferBytes: MiB,
  /** Maximum time that the link takes to send one chunk. */
  chunkMs: 1_000,
  /** Maximum size of a chunk on a link without a measured rate, and minimum size of a chunk on any link. */
  firstChunkBytes: 32 * KiB,
  leastChunkBytes: KiB,
  /** Minimum time, or number of bytes, over which a rate is measured. */
  sampleMs: 250,
  sampleBytes: MiB,
  /** Maximum time that one chunk takes at the rate that the caller sets. */
  limitedChunkSeconds: 0.25,
  /** Maximum number of finished uploads in the list, and of failed tasks that a state keeps for a day. */
  finishedUploads: 1_000,
  failedTasks: 10_000,
  /** Maximum number of tasks that a state keeps, including ended ones, and of unfinished uploads of a client. */
  keptTasks: 100_000,
  /** Time for which a completed or failed task is kept. */
  endedTaskMs: 24 * 3_600_000,
  /** Maximum number of times that an upload starts again because the digests differ, or because its source changed. */
  digestTries: 3,
  sourceTries: 3,
  /**
   * Maximum number of bytes read from a file of unknown size. They are kept in a temporary file while they are sent.
   */
  unsizedBytes: 1_024 * MiB,
  /** Maximum number of unanswered chunks of one upload, even if the window of the server has room for more. */
  unansweredChunks: 4_096,
  /** Number of times that an upload goes back without progress before it counts as refused. */
  setbacks: 16,
  /** A client reconnects after a random time up to min(`reconnectMostMs`, `reconnectFirstMs` * 2^n). */
  reconnectFirstMs: 500,
  reconnectMostMs: 30_000,
  /** Duration of a good link after which the n of `reconnectFirstMs` is 0 again. */
  goodLinkMs: 30_000,
  /** Time for which a closing client waits until the server has saved the received bytes. */
  closeMs: 1_000,
  /** Maximum time from dialling to HELLO_ACK. */
  handshakeMs: 10_000,
  /** Maximum number of addresses tried for one host name, and the delay between two attempts. */
  dialledAddresses: 8,
  attemptDelayMs: 250,
  /** Maximum number of unsent and unanswered messages, and of bytes of their content. */
  sends: 10_000,
  sendBytes: 64 * MiB,
  /** Maximum number of calls of a throwing handler for one message, and the delay between two calls, which doubles. */
  handlerTries: 16,
  handlerFirstMs: 100,
  handlerMostMs: 30_000,
} as const

/** The limits that protocol version 1 fixes. */
export const fixed = {
  /** Minimum and maximum keep-alive interval that a server may set. */
  leastKeepAliveMs,
  mostKeepAliveMs,
  /** Maximum size of a payload before HELLO_ACK. */
  helloFrameBytes: 4 * KiB,
  /** Maximum size of a payload to a client. */
  clientFrameBytes: 2 * MiB,
  /** Number of remembered replies, and one more than the REQs that may follow the oldest unanswered one. */
  replies: 512,
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
  /**
   * Maximum time for an incomplete frame while incomplete frames take more memory than chunks may. A client sends a chunk in
   * about one second.
   */
  contendedFrameMs: 5_000,
  /** Maximum size of a file: the largest exact integer of JavaScript. */
  mostFileBytes: Number.MAX_SAFE_INTEGER,
  /** Maximum size of file names, their parts, and user names, and maximum number of parts. */
  fileNameBytes: 1_024,
  namePartBytes: 255,
  nameParts: 32,
  userNameBytes: 64,
  /** Maximum length of a field of a log line; longer fields are cut. */
  logFieldCharacters: 2_048,
  /** Maximum number of superseded sessions that a transfer record remembers. */
  supersededSessions: 8,
  /** Maximum number of former holders that an instance remembers, each with the reason why it lost the instance. */
  instanceHolders: 4,
  /** Upper bound of the limit `deliveryWindow`: well below `replies`, so that pings are possible. */
  deliveriesMost,
  /** Maximum size of the content of a message. */
  messageBytes: 64 * KiB,
  /** Upper bound of the limit `clients`, so that the whole list fits into one frame. */
  clientsMost,
  /** Maximum number of users of one server. */
  users: 20_000,
  /**
   * Maximum number of unfinished uploads of one user and of all users, and of notes of completed uploads. The oldest
   * notes are dropped first.
   */
  unfinishedPerUser: 2_000,
  unfinishedUploads: 10_000,
  /** Maximum share of `unfinishedUploads` of one user, as with `senderSharePercent`, so that others can upload too. */
  unfinishedSharePercent: 50,
  notes: 100_000,
  /** Maximum number of START, CONTINUE and CANCEL requests of one link, and of one user, that are carried out at the same time. */
  requestsAtOnce: 16,
  requestsPerUserAtOnce: 32,
  /** Maximum number of uploads that wait for an instance; a new one replaces the one without a request for longest. */
  waitingUploads: 10_000,
  /** Minimum time between two counts of a user's files; a slow count is repeated less often. */
  recountMs: 300_000,
  /** Maximum number of users whose stored bytes, or superseded sessions, are remembered; a new one replaces the oldest. */
  rememberedUsers: 10_000,
} as const
