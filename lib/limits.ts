/** Sizes in bytes. */
export const KiB = 1024
export const MiB = 1024 * KiB

/**
 * Every bound and interval that a server can be set to, with its default. What the protocol fixes
 * stands in `fixed`, what a client keeps to by itself in `clientLimits`.
 */
export const defaultLimits = {
  /** Silence after which a side sends a PING_REQ; after twice as much the link is dead. */
  keepAliveMs: 15_000,
  /** From connecting to a complete HELLO_REQ. */
  handshakeMs: 10_000,
  /** Connections whose handshake of TLS is not done; one more, and one that has waited for long makes room. */
  handshakes: 256,
  /** Largest content of one POST_FILE_REQ that is ever granted. */
  chunkBytes: MiB,
  /** Most bytes of one upload that may be unacknowledged. */
  windowBytes: 8 * MiB,
  /**
   * Chunks of all links that wait to be written, but for one of each link; the chunk that is granted shrinks as instances fill.
   * Frames that have begun and are not complete have as much again.
   */
  chunkMemoryBytes: 16 * MiB,
  /** A checkpoint is due after so many bytes … */
  checkpointBytes: 8 * MiB,
  /** … or so long after the first byte that is not durable. */
  checkpointMs: 500,
  /** Checkpoints that a record keeps, to go back to when a partial file is found damaged. */
  checkpoints: 32,
  /** Ordinary instances of FileApp: files received at once. */
  fileInstances: 200,
  /** Uploads at once on one link. */
  uploadsPerLink: 5,
  /** Uploads at once of one user, over all links. */
  uploadsPerUser: 100,
  /**
   * An upload that has not got further for this time, divided by the number of instances that its user holds, loses its
   * instance if another user waits for one and holds fewer; one that has had its instance for so long does if that user holds at
   * least two fewer. Not before a second has passed.
   */
  stalledMs: 60_000,
  /** Uploads whose link was lost and that are kept open for their client to come back. */
  parkedUploads: 200,
  /** How long such an upload is kept open; its record stays longer. */
  parkedMs: 5 * 60_000,
  /** How long the record and the bytes of an upload are kept that nobody goes on with. */
  uploadAgeMs: 7 * 24 * 3_600_000,
  /** Largest file that is taken, and most bytes of one user's files; the greatest number is no bound. */
  fileBytes: Number.MAX_SAFE_INTEGER,
  userBytes: Number.MAX_SAFE_INTEGER,
  /** Bytes that each file and each folder counts for in `userBytes`, in addition to the bytes of the file. */
  entryBytes: 4 * KiB,
  /** Maximum number of files and folders of one user, unfinished uploads included. */
  userFiles: 1_000_000,
  /** Links at once after HELLO. */
  links: 2_000,
  /** … of one user, over all addresses. */
  linksPerUser: 200,
  /** … from one address; the addresses of one IPv6 network (/64) count as one. */
  linksPerAddress: 500,
  /** Links at once before HELLO is answered, besides those; at one more, the longest silent one of the fullest address ends. */
  pendingLinks: 500,
  /** Links that are turned away at one time and told why; further ones are closed without a word. */
  refusedLinks: 200,
  /** A link that holds no upload and does not listen for messages, and asks nothing but pings, is closed after so long. */
  idleMs: 3_600_000,
  /** Recipients of one message. */
  recipients: 16,
  /** Registered clients, and of them of one user. */
  clients: 100,
  registrationsPerUser: 20,
  /**
   * HELLO_REQs that are judged in a second, of one address half of them; the others are told when to come back. Half as many
   * again are for addresses that send many, or wrong ones.
   */
  hellosPerSecond: 200,
  /** HELLO_REQs of a minute that are told why they fail, from one address, and of one user from there; what holds is let in. */
  failedHellosPerAddress: 60,
  failedHellosPerUser: 10,
  /**
   * Lines of the log in a second, averaged over ten, that one user can cause (of each event at most as many as are left), and all
   * users of one address. Refused links from all addresses have as many as an address, averaged over a minute.
   */
  logLinesPerUser: 10,
  logLinesPerAddress: 30,
  /** Lines about refused links from one address in a minute. */
  refusalLinesPerAddress: 60,
  /** Addresses, and users of addresses, of which that is remembered; the longest remembered is forgotten for a new one. */
  rememberedAddresses: 4_096,
  /** Frames, and bytes of frames, that are read in a second from all links of one user together. */
  framesPerSecond: 100_000,
  bytesPerSecond: 2 * 1024 * MiB,
  /** Time, in ms, that the requests of one user may take in a second by `requestCost`; of several busy users each gets an equal part. */
  workMsPerSecond: 1_000,
  /** REGIST_REQs of one user that are read in a second. */
  registrationsPerSecond: 50,
  /** Changes of the online list are gathered for so long. */
  gatherMs: 50,
  /** Messages that wait in one mailbox, and bytes of their content. */
  mailboxMessages: 10_000,
  mailboxBytes: 64 * MiB,
  /** Messages that wait in all mailboxes together. */
  waitingMessages: 1_000_000,
  /**
   * What one sender may have of what waits in a mailbox, of what waits in all, of the message ids and of the free disk, in
   * percent, when no other has anything there (`fitsShare` in lib/runtime/share.ts); 100 is no bound.
   */
  senderSharePercent: 50,
  /** How long a message waits for its recipient. */
  messageAgeMs: 30 * 24 * 3_600_000,
  /** Message ids that are remembered of one sender, and of all. */
  senderIds: 500_000,
  messageIds: 2_000_000,
  /** Deliveries to one recipient that may be unanswered, and bytes of their content (one is always allowed). */
  deliveryWindow: 32,
  deliveryBytes: 256 * KiB,
  /** Bytes of deliveries to all recipients together that no socket has taken yet; beyond them each may have one message. */
  deliveryMemoryBytes: 32 * MiB,
  /** A delivery that is not answered in this time is repeated when all others have had their turn. */
  deliveryMs: 10_000,
  /** Disk space that uploads leave free for messages and records, or this share of the disk if that is less. */
  reserveBytes: 64 * MiB,
  reservePercent: 5,
  /** How long a completed upload is remembered, so that a repeated FILE_MD5_REQ is answered. */
  noteMs: 7 * 24 * 3_600_000,
  /** How long a message id is remembered. */
  messageIdMs: 7 * 24 * 3_600_000,
  /** Bytes that a link may have unsent before it is closed as a slow consumer. */
  unsentBytes: 4 * MiB,
  /** How long a client is asked to wait after a refusal that passes by itself. */
  retryAfterMs: 1_000,
} as const satisfies Record<string, number>

/** A server's bounds; units stand last in each name. */
export type Limits = { readonly [K in keyof typeof defaultLimits]: number }

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
  leastKeepAliveMs: 100,
  mostKeepAliveMs: 3_600_000,
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
  deliveriesMost: 256,
  /** The content of a message. */
  messageBytes: 64 * KiB,
  /** Clients at most, whatever is set, so that the whole list fits a frame. */
  clientsMost: 20_000,
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
