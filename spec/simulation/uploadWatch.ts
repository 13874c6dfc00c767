import { codeOf } from '../../lib/errors.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import { recordKey } from '../../lib/storage/transfers/recordStore.ts'
import { lengthOf } from '../../lib/wire/codec.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { decode, type WireMessage } from '../../lib/wire/message.ts'
import type { SimulatedDisk } from './disk.ts'
import type { Link, SimulatedNetwork } from './network.ts'
import type { VirtualTime } from './time.ts'
import type { Trace } from './trace.ts'

/** The reported progress of one version of a file. */
interface Standing {
  readonly version: string
  durable: number
  /** Whether it is being verified, which may reset the progress. */
  verifying: boolean
}

/** The state of an instance on a link. */
interface Holding {
  readonly key: string
  progress: number
  /** The highest progress that its link has received. */
  most: number
}

/** The upload that a START or CONTINUE is about. */
interface Asked {
  readonly key: string
  readonly version: string
}

/** The uploads of one link. */
interface LinkUploads {
  user: string
  /** The openings by seq; `undefined` once answered. */
  readonly asked: Map<number, Asked | undefined>
  /** The requests that end another upload of a name, by seq, until they are answered. */
  readonly ending: Map<number, readonly string[]>
  /** By instance. */
  readonly holdings: Map<number, Holding>
}

type Opening = WireMessage<'StartPostFileReq' | 'ContinuePostFileReq'>

/** The parts of a world that uploads are checked against. */
interface UploadParts {
  readonly trace: Trace
  readonly time: VirtualTime
  readonly network: Pick<SimulatedNetwork, 'links'>
  readonly disk: Pick<SimulatedDisk, 'rot'>
  readonly windowBytes: number
  /** Whether an upload can have links at several servers, of which only the latest one holds it. */
  readonly severalServers?: boolean
}

/** Checks the progress of uploads that the server reports: it never falls without a reason with a code. */
export class UploadWatch {
  readonly #parts: UploadParts
  /** By user and name. */
  readonly #standings = new Map<string, Standing>()
  readonly #uploads = new Map<Link, LinkUploads>()
  /** By user and name: the holding that was opened last. */
  readonly #latest = new Map<string, Holding>()
  /** By user and name: the number of unanswered requests that may end an upload at another server at any time. */
  readonly #doubts = new Map<string, number>()
  /** By user and name, the time at which the server last gave a reason. */
  readonly #namedAtMs = new Map<string, number>()

  constructor(parts: UploadParts) {
    this.#parts = parts
  }

  watch(link: Link): void {
    const { server } = link
    const { heard, sent } = server
    const uploads: LinkUploads = { user: '', asked: new Map(), ending: new Map(), holdings: new Map() }
    this.#uploads.set(link, uploads)
    server.heard = (frame) => {
      this.#arrived(frame, uploads)
      return heard(frame)
    }
    server.sent = (frame) => {
      sent(frame)
      if (!server.over) this.#answered(frame, uploads)
    }
  }

  /** The storage has lost its latest changes: each upload may go back. */
  lost(): void {
    this.#standings.clear()
  }

  /** The server gives a reason for which an upload may go back. */
  reason({ event, user, name }: LogEntry): void {
    // A stored file has no progress: if it is removed before its client has continued, the client sends it from the beginning.
    if (event === 'upload-stored') this.#standings.delete(`${user}/${name}`)
    // A file that could not be removed completely may have lost its bytes.
    if (event !== 'upload-damaged' && event !== 'upload-expired' && event !== 'upload-not-expired') return
    this.#clear(`${user}/${name}`)
    this.#namedAtMs.set(`${user}/${name}`, this.#parts.time.now())
    for (const [link, { holdings }] of this.#uploads) {
      if (!this.#parts.network.links.has(link)) this.#uploads.delete(link)
      for (const holding of holdings.values()) if (holding.key === `${user}/${name}`) holding.progress = 0
    }
  }

  #arrived(frame: Frame, uploads: LinkUploads): void {
    const message = decode(frame)
    const holding = uploads.holdings.get(frame.instance)
    // A repeated request gets the same reply as before.
    const isNew = !uploads.asked.has(frame.seq)
    switch (message.event) {
      case 'HelloReq':
        uploads.user = message.userName
        break
      case 'PostFileReq':
        if (holding) this.#sent(holding, message)
        break
      case 'FileMd5Req':
        this.#verifies(holding, true)
        break
      case 'CancelFileReq':
      // The server ends another upload of this name, even if it then refuses the file.
      case 'PutFileReq':
        if (isNew) this.#ends(uploads, frame.seq, [message.fileName])
        break
      case 'PutFilesReq':
        if (isNew) {
          const names = message.files.map(({ fileName }) => fileName)
          this.#ends(uploads, frame.seq, names)
        }
        break
      case 'StartPostFileReq':
      case 'ContinuePostFileReq':
        if (isNew) uploads.asked.set(frame.seq, this.#asked(uploads, frame.seq, message))
    }
  }

  /** A request that ends other uploads of these names has arrived. */
  #ends({ user, ending }: LinkUploads, seq: number, names: readonly string[]): void {
    const keys = names.map((name) => `${user}/${name}`)
    for (const key of keys) this.#standings.delete(key)
    if (!this.#parts.severalServers || ending.has(seq)) return
    ending.set(seq, keys)
    for (const key of keys) this.#doubts.set(key, (this.#doubts.get(key) ?? 0) + 1)
  }

  /** A request that ended other uploads of its names is answered. */
  #hasEnded(ending: Map<number, readonly string[]>, seq: number): void {
    const keys = ending.get(seq) ?? []
    ending.delete(seq)
    for (const key of keys) {
      this.#standings.delete(key)
      const left = (this.#doubts.get(key) ?? 1) - 1
      if (left > 0) this.#doubts.set(key, left)
      else this.#doubts.delete(key)
    }
  }

  #answered(frame: Frame, { asked, ending, holdings }: LinkUploads): void {
    const message = decode(frame)
    const holding = holdings.get(frame.instance)
    if (endingAnswers.has(message.event)) this.#hasEnded(ending, frame.seq)
    switch (message.event) {
      case 'StartPostFileAck':
      case 'ContinuePostFileAck': {
        const opening = asked.get(frame.seq)
        asked.set(frame.seq, undefined)
        // A file that is already stored has no progress to continue from, and the reply grants no instance.
        if (opening && message.stored) this.#standings.delete(opening.key)
        else if (opening) holdings.set(message.instance, this.#opened(opening, message.progress))
        break
      }
      case 'PostFileAck':
        if (holding) this.#acknowledged(holding, message)
        break
      case 'FileMd5Ack':
        if (holding) this.#standings.delete(holding.key)
        break
      case 'FileMd5Nack':
      case 'PostFileNack':
        if (holding) this.#refused(holding, message)
    }
  }

  /** A chunk is sent: the bytes in flight fit in the window. */
  #sent(holding: Holding, { progress, content }: WireMessage<'PostFileReq'>): void {
    const { windowBytes } = this.#parts
    const end = progress + lengthOf(content)
    if (end > holding.most + windowBytes)
      this.#parts.trace.fail(`${holding.key}: ${end} bytes were sent, and ${holding.most} are acknowledged`)
  }

  /** An upload that begins anew has no earlier progress. */
  #asked(uploads: LinkUploads, seq: number, message: Opening): Asked {
    const asked = { key: `${uploads.user}/${message.fileName}`, version: versionOf(message) }
    const isOther = this.#standings.get(asked.key)?.version !== asked.version
    if (message.event === 'StartPostFileReq' || isOther) this.#ends(uploads, seq, [message.fileName])
    return asked
  }

  #opened({ key, version }: Asked, progress: number): Holding {
    const standing = this.#standings.get(key)
    const isLost = this.#parts.disk.rot.hasHitUpload(recordKey(...userAndName(key)))
    const isExcused = isLost || this.#doubts.has(key)
    if (standing?.version === version && progress < standing.durable && !standing.verifying && !isExcused)
      this.#parts.trace.fail(`${key}: ${standing.durable} bytes were durable, and the upload continues at ${progress}`)
    this.#standings.set(key, {
      version,
      durable: progress < (standing?.durable ?? 0) ? 0 : (standing?.durable ?? 0),
      verifying: false,
    })
    // A reply from the turn in which the reason was given can have been sent before the reason, and arrive after it.
    const isNamed = this.#namedAtMs.get(key) === this.#parts.time.now()
    const holding = { key, progress: isNamed ? 0 : progress, most: progress }
    this.#latest.set(key, holding)
    return holding
  }

  #acknowledged(holding: Holding, { progress, durable }: WireMessage<'PostFileAck'>): void {
    const { key, progress: before } = holding
    const standing = this.#standings.get(key)
    if (progress < before) this.#parts.trace.fail(`${key}: the progress falls from ${before} to ${progress}`)
    // What the former owner tells after a take-over counts no more.
    const isFormer = this.#parts.severalServers && this.#latest.get(key) !== holding
    if (durable < (standing?.durable ?? 0) && !isFormer && !this.#doubts.has(key))
      this.#parts.trace.fail(`${key}: the durable offset falls from ${standing?.durable} to ${durable}`)
    holding.progress = progress
    holding.most = Math.max(holding.most, progress)
    if (standing && !isFormer) standing.durable = durable
  }

  #refused(holding: Holding, { event, code }: WireMessage<'FileMd5Nack' | 'PostFileNack'>): void {
    holding.progress = 0
    if (event === 'FileMd5Nack') this.#verifies(holding, false)
    if (codeOf(code) === 'digest-mismatch') this.#clear(holding.key)
  }

  #verifies(holding: Holding | undefined, yes: boolean): void {
    const standing = holding && this.#standings.get(holding.key)
    if (standing) standing.verifying = yes
  }

  #clear(key: string): void {
    const standing = this.#standings.get(key)
    if (standing) standing.durable = 0
  }
}

/** Splits `user/name`. */
function userAndName(key: string): [user: string, name: string] {
  const slash = key.indexOf('/')
  return [key.slice(0, slash), key.slice(slash + 1)]
}

/** The answers to requests that end another upload of a name. */
const endingAnswers: ReadonlySet<string> = new Set([
  'CancelFileAck',
  'CancelFileNack',
  'PutFileAck',
  'PutFileNack',
  'PutFilesAck',
  'PutFilesNack',
  'StartPostFileAck',
  'StartPostFileNack',
  'ContinuePostFileAck',
  'ContinuePostFileNack',
])

const versionOf = ({ size, modifiedAt, digest }: Opening): string => `${size} ${modifiedAt} ${digest}`
