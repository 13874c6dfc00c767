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
  /** What it limits; the help of its flag. A text in brackets replaces the default there. */
  readonly describe: string
}

/** Each limit of a server. What the protocol fixes is in `fixed`, what a client limits by itself in `clientLimits`. */
export const limitTable = {
  keepAliveMs: {
    default: 15_000,
    range: [leastKeepAliveMs, mostKeepAliveMs],
    flag: 'keep-alive',
    describe: 'silence after which a link is probed; after twice as long it is dead',
  },
  handshakeMs: {
    default: 10_000,
    flag: 'handshake-time',
    describe: 'maximum time from connecting to a complete HELLO',
  },
  handshakes: {
    default: 256,
    describe: 'maximum number of unfinished TLS handshakes; a further connection ends one that has waited for long',
  },
  chunkBytes: {
    default: MiB,
    range: [1, 256 * MiB],
    flag: 'chunk',
    describe: 'maximum size of the part of a file in one request',
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
      'memory for chunks that wait to be written, for all links; each link may have one more chunk; incomplete frames have as much again',
  },
  checkpointBytes: {
    default: 8 * MiB,
    flag: 'checkpoint-size',
    describe: 'an upload is flushed to disk after this number of bytes …',
  },
  checkpointMs: {
    default: 500,
    flag: 'checkpoint-time',
    describe: '… or this long after the first byte that is not durable',
  },
  checkpoints: {
    default: 32,
    describe: 'maximum number of checkpoints of one upload, to go back to if its partial file is damaged',
  },
  fileInstances: {
    default: 200,
    range: [1, 0xffff],
    flag: 'file-instances',
    describe: 'maximum number of files received at the same time',
  },
  uploadsPerLink: {
    default: 5,
    range: [1, 0xffff],
    flag: 'uploads-per-link',
    describe: 'maximum number of uploads at the same time on one link',
  },
  uploadsPerUser: {
    default: 100,
    flag: 'uploads-per-user',
    describe: 'maximum number of uploads at the same time of one user',
  },
  stalledMs: {
    default: 60_000,
    flag: 'stalled-time',
    describe:
      'an upload without progress for this time, divided by the uploads of its user, yields to a user with fewer, and any upload to a user with two fewer',
  },
  parkedUploads: {
    default: 200,
    describe: 'maximum number of uploads without a link that are kept open for their clients',
  },
  parkedMs: {
    default: 5 * 60_000,
    describe: 'how long an upload without a link is kept open; its record stays longer',
  },
  uploadAgeMs: {
    default: 7 * 24 * 3_600_000,
    range: [1_000, Number.MAX_SAFE_INTEGER],
    flag: 'upload-age',
    describe: 'how long an unfinished upload is kept without progress',
  },
  fileBytes: {
    default: Number.MAX_SAFE_INTEGER,
    flag: 'max-file-size',
    describe: 'maximum size of one file [no limit]',
  },
  userBytes: {
    default: Number.MAX_SAFE_INTEGER,
    flag: 'quota',
    describe: "maximum size of one user's files, with --entry-size for each file and folder [no limit]",
  },
  entryBytes: {
    default: 4 * KiB,
    range: [0, 256 * MiB],
    flag: 'entry-size',
    describe: 'size that each file and folder counts for in --quota, in addition to its content',
  },
  userFiles: {
    default: 1_000_000,
    flag: 'user-files',
    describe: "maximum number of one user's files and folders, unfinished uploads included",
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
      'maximum number of rejected connections that are told the reason at the same time; others are closed at once',
  },
  idleMs: {
    default: 3_600_000,
    flag: 'idle-time',
    describe: 'a link without uploads, registration and requests is closed after this time',
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
      'HELLOs that are checked in a second; up to half of them from one address, and half as many again from busy addresses',
  },
  failedHellosPerAddress: {
    default: 60,
    flag: 'failed-hellos-per-address',
    describe: 'refused HELLOs in a minute from one address that are told why',
  },
  failedHellosPerUser: {
    default: 10,
    flag: 'failed-hellos-per-user',
    describe: 'HELLOs with a wrong token in a minute for one user from one address that are told why',
  },
  logLinesPerUser: {
    default: 10,
    flag: 'log-lines-per-user',
    describe: 'maximum number of log lines a second about one user, averaged over ten seconds',
  },
  logLinesPerAddress: {
    default: 30,
    flag: 'log-lines-per-address',
    describe: 'maximum number of log lines a second about the users of one address, and about all refused links',
  },
  refusalLinesPerAddress: {
    default: 60,
    flag: 'refusal-lines-per-address',
    describe: 'maximum number of log lines in a minute about refused links of one address',
  },
  rememberedAddresses: {
    default: 4_096,
    describe: 'maximum number of addresses and users that rates are remembered of; a new one replaces the oldest',
  },
  framesPerSecond: {
    default: 100_000,
    flag: 'frames-per-second',
    describe: 'maximum number of requests and answers of one user that are read in a second',
  },
  bytesPerSecond: {
    default: 2 * 1024 * MiB,
    range: [64 * KiB, Number.MAX_SAFE_INTEGER],
    flag: 'bytes-per-second',
    describe: 'maximum number of bytes of one user that are read in a second, at least 64k',
  },
  workMsPerSecond: {
    default: 1_000,
    flag: 'work-per-second',
    describe: "time that one user's requests may take in a second; busy users share it equally",
  },
  registrationsPerSecond: {
    default: 50,
    flag: 'registrations-per-second',
    describe: 'maximum number of registration requests of one user that are read in a second',
  },
  gatherMs: {
    default: 50,
    range: [1, 50],
    describe: 'how long changes of the presence list are collected before they are sent',
  },
  mailboxMessages: {
    default: 10_000,
    flag: 'mailbox-messages',
    describe: 'maximum number of messages that wait for one user',
  },
  mailboxBytes: {
    default: 64 * MiB,
    flag: 'mailbox-size',
    describe: 'maximum size of the messages that wait for one user',
  },
  waitingMessages: {
    default: 1_000_000,
    flag: 'waiting-messages',
    describe: 'maximum number of messages that wait for all users',
  },
  senderSharePercent: {
    default: 50,
    range: [1, 100],
    flag: 'sender-share',
    describe:
      'part of a mailbox, of all waiting messages, of message ids and of the free disk that one sender can fill',
  },
  messageAgeMs: {
    default: 30 * 24 * 3_600_000,
    flag: 'message-age',
    describe: 'how long a message waits for its recipient',
  },
  senderIds: {
    default: 500_000,
    flag: 'message-ids-per-user',
    describe: 'maximum number of remembered message ids of one sender',
  },
  messageIds: {
    default: 2_000_000,
    flag: 'message-ids',
    describe: 'maximum number of remembered message ids of all senders',
  },
  deliveryWindow: {
    default: 32,
    range: [1, deliveriesMost],
    describe: 'maximum number of unanswered deliveries to one recipient',
  },
  deliveryBytes: {
    default: 256 * KiB,
    describe: 'maximum size of the unanswered deliveries to one recipient; one delivery is always allowed',
  },
  deliveryMemoryBytes: {
    default: 32 * MiB,
    describe: 'memory for unsent deliveries to all recipients; beyond it each recipient may have one message',
  },
  deliveryMs: {
    default: 10_000,
    describe: 'time after which an unanswered delivery is repeated, after all others had their turn',
  },
  reserveBytes: {
    default: 64 * MiB,
    range: [0, Number.MAX_SAFE_INTEGER],
    flag: 'reserve',
    describe: 'disk space that uploads leave free for messages [64M or 5 % of the disk, whichever is less]',
  },
  reservePercent: {
    default: 5,
    range: [0, 100],
    describe: 'part of the disk that uploads leave free, if that is less than the reserve in bytes',
  },
  noteMs: {
    default: 7 * 24 * 3_600_000,
    describe: 'how long a completed upload is remembered, to answer a repeated FILE_MD5_REQ',
  },
  messageIdMs: {
    default: 7 * 24 * 3_600_000,
    range: [1, 0xffff_ffff * 1_000],
    describe: 'how long a message id is remembered',
  },
  unsentBytes: { default: 4 * MiB, describe: 'unsent bytes after which a link is closed as a slow consumer' },
  retryAfterMs: {
    default: 1_000,
    range: [1, 0xffff_ffff],
    describe: 'time after which a client should repeat a request that was refused for the moment',
  },
} as const satisfies Readonly<Record<string, Limit>>

/** A value for each limit of a server. */
export type Limits = { readonly [K in keyof typeof limitTable]: number }

const limits = /* @__PURE__ */ Object.entries<Limit>(limitTable) as [keyof Limits, Limit][]

export const defaultLimits = /* @__PURE__ */ Object.fromEntries(
  /* @__PURE__ */ limits.map(([name, limit]) => [name, limit.default]),
) as Limits

/** Returns the defaults with `chosen` in place of some. Throws OspError `usage` that names each invalid or unknown limit. */
export function limitsWith(chosen: Partial<Limits> = {}): Limits {
  if (typeof chosen !== 'object' || chosen === null || Array.isArray(chosen)) {
    throw new OspError('usage', 'limits are an object of numbers')
  }
  const faults = limits.flatMap(([name, limit]) => faultOf(name, limit, chosen[name]))
  for (const name of Object.keys(chosen)) {
    if (!Object.hasOwn(limitTable, name)) faults.push(`limits.${name} is not known`)
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
  return [`limits.${name} cannot be ${shown}: it is a whole number from ${least} to ${most}`]
}

/** What a client keeps to by itself. */
export const clientLimits = {
  /** Uploads at once, where the server allows as many. */
  uploads: 5,
  /** Buffers of `bufferBytes` for chunks between the source and the socket, for all uploads together. */
  buffers: 8,
  bufferBytes: MiB,
  /** A chunk is no longer than this many milliseconds of the link … */
  chunkMs: 1_000,
  /** … is no longer than this on a link without a measured rate, and never shorter than `leastChunkBytes`. */
  firstChunkBytes: 32 * KiB,
  leastChunkBytes: KiB,
  /** Rates are measured over at least this long, or this many bytes. */
  sampleMs: 250,
  sampleBytes: MiB,
  /** Where a rate is set, chunks are cut to this part of a second of it. */
  limitedChunkSeconds: 0.25,
  /** Finished uploads that stay in the list, and failed tasks that a state keeps for a day. */
  finishedUploads: 1_000,
  failedTasks: 10_000,
  /** Tasks that a state keeps, ended ones included; and uploads of a client that are not over. */
  keptTasks: 100_000,
  /** How long a task that is done or has failed is kept. */
  endedTaskMs: 24 * 3_600_000,
  /** How often an upload begins again because the digests differ, or because its source changed. */
  digestTries: 3,
  sourceTries: 3,
  /**
   * Maximum number of bytes read from a file of unknown size. They are kept in a temporary file while they are sent.
   */
  unsizedBytes: 1_024 * MiB,
  /** Chunks of one upload that may be unanswered, whatever window the server grants. */
  unansweredChunks: 4_096,
  /** How often a sending goes back without getting further, before it is taken for refused. */
  setbacks: 16,
  /** Reconnecting waits a random time up to min(`reconnectMostMs`, `reconnectFirstMs` * 2^n) … */
  reconnectFirstMs: 500,
  reconnectMostMs: 30_000,
  /** … with n back to 0 after a link that was good for so long. */
  goodLinkMs: 30_000,
  /** How long a closing client waits for the server to keep what it has. */
  closeMs: 1_000,
  /** From dialling to HELLO_ACK. */
  handshakeMs: 10_000,
  /** Maximum number of addresses tried for one host name, and the delay between two attempts. */
  dialledAddresses: 8,
  attemptDelayMs: 250,
  /** Messages that wait to be sent or are unanswered, and bytes of their content. */
  sends: 10_000,
  sendBytes: 64 * MiB,
  /** How often a message is handed to a handler that throws, and how long it waits before it does so again, doubling. */
  handlerTries: 16,
  handlerFirstMs: 100,
  handlerMostMs: 30_000,
} as const

/** What protocol version 1 fixes. */
export const fixed = {
  /** Keep-alive intervals that a server may ask for. */
  leastKeepAliveMs,
  mostKeepAliveMs,
  /** Longest payload before HELLO_ACK. */
  helloFrameBytes: 4 * KiB,
  /** Longest payload to a client. */
  clientFrameBytes: 2 * MiB,
  /** Remembered replies, and one more than the REQs that may follow the oldest unanswered one. */
  replies: 512,
  /** Repetition of REQs on sockets that can lose frames (RFC 6298). */
  firstTimeoutMs: 1_000,
  leastTimeoutMs: 200,
  mostTimeoutMs: 30_000,
  /** Repetition of REQs, chunks excepted, on reliable sockets. */
  reliableTimeoutMs: 10_000,
  /** Counted tries after which a link is dead. */
  tries: 8,
  /** No frame arrives later than this after it was sent. */
  frameLifetimeMs: 60_000,
  /** Chunks handed to the socket and not yet sent. */
  chunksHanded: 2,
  /** Replies and notifications that may wait for a peer that does not read: each takes memory besides its bytes. */
  unsentReplies: 16_384,
  /** A peer that seems dead has this part of a keep-alive interval more: perhaps this process was frozen. */
  reprieve: 1 / 8,
  /** A begun frame arrives at this rate or faster, beyond two keep-alives. */
  leastFrameBytesPerSecond: 4 * KiB,
  /** … and within this time where begun frames take more memory than chunks may. A client's chunk is a second of its link. */
  contendedFrameMs: 5_000,
  /** Maximum size of a file. Above it JavaScript has no exact integers. */
  mostFileBytes: Number.MAX_SAFE_INTEGER,
  /** File and user names. */
  fileNameBytes: 1_024,
  namePartBytes: 255,
  nameParts: 32,
  userNameBytes: 64,
  /** A field of a line in the log; longer ones are cut. */
  logFieldCharacters: 2_048,
  /** Sessions that a transfer record remembers as superseded. */
  supersededSessions: 8,
  /** Holders that an instance remembers, with why each lost it. */
  instanceHolders: 4,
  /** Deliveries on one link that may be unanswered, whatever is set: well below `replies`, so that pings find room. */
  deliveriesMost,
  /** The content of a message. */
  messageBytes: 64 * KiB,
  /** Clients at most, whatever is set, so that the whole list fits a frame. */
  clientsMost,
  /** Users of one server. */
  users: 20_000,
  /**
   * Maximum number of unfinished uploads of one user and of all users, and of notes of completed uploads. The oldest
   * notes are dropped first.
   */
  unfinishedPerUser: 2_000,
  unfinishedUploads: 10_000,
  /** What one user alone may have of `unfinishedUploads`, as `senderSharePercent`: so they do not keep the others out. */
  unfinishedSharePercent: 50,
  notes: 100_000,
  /** Maximum number of START, CONTINUE and CANCEL requests of one link, and of one user, that are carried out at the same time. */
  requestsAtOnce: 16,
  requestsPerUserAtOnce: 32,
  /** Uploads that are remembered as waiting for an instance; beyond that the longest unheard of is forgotten. */
  waitingUploads: 10_000,
  /** Minimum time between two counts of a user's files; a count that takes long is repeated less often. */
  recountMs: 300_000,
  /** Users whose stored bytes, or superseded sessions, are remembered; the longest known is forgotten for a new one. */
  rememberedUsers: 10_000,
} as const
