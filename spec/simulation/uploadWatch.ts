import { codeOf } from '../../lib/errors.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import { recordKey } from '../../lib/storage/transfers/recordStore.ts'
import { lengthOf } from '../../lib/wire/codec.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { decode, type Message } from '../../lib/wire/message.ts'
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

type Opening = Message<'StartPostFileReq' | 'ContinuePostFileReq'>

/** The parts of a world that uploads are checked against. */
interface UploadParts {
  readonly trace: Trace
  readonly time: VirtualTime
  readonly network: Pick<SimulatedNetwork, 'links'>
  readonly disk: Pick<SimulatedDisk, 'rot'>
  readonly windowBytes: number
}

/** Checks the progress of uploads that the server reports: it never falls without a reason with a code. */
export class UploadWatch {
  readonly #parts: UploadParts
  /** By user and name. */
  readonly #standings = new Map<string, Standing>()
  readonly #holdings = new Map<Link, Map<number, Holding>>()
  /** By user and name, the time at which the server last gave a reason. */
  readonly #namedAtMs = new Map<string, number>()

  constructor(parts: UploadParts) {
    this.#parts = parts
  }

  watch(link: Link): void {
    const { server } = link
    const { heard, sent } = server
    const asked = new Map<number, Asked | undefined>()
    const holdings = new Map<number, Holding>()
    this.#holdings.set(link, holdings)
    let user = ''
    server.heard = (frame) => {
      const message = decode(frame)
      // A repeated request gets the same reply as before.
      const isNew = !asked.has(frame.seq)
      if (message.event === 'HelloReq') user = message.userName
      else if (message.event === 'PostFileReq') this.#sent(holdings.get(frame.instance), message)
      else if (message.event === 'FileMd5Req') this.#verifies(holdings.get(frame.instance), true)
      else if (message.event === 'CancelFileReq' && isNew) this.#standings.delete(`${user}/${message.fileName}`)
      else if ((message.event === 'StartPostFileReq' || message.event === 'ContinuePostFileReq') && isNew)
        asked.set(frame.seq, this.#asked(user, message))
      return heard(frame)
    }
    server.sent = (frame) => {
      sent(frame)
      if (!server.over) this.#said(frame, holdings, asked)
    }
  }

  /** The server gives a reason for which an upload may go back. */
  reason({ event, user, name }: LogEntry): void {
    // A file that could not be removed completely may have lost its bytes.
    if (event !== 'upload-damaged' && event !== 'upload-expired' && event !== 'upload-not-expired') return
    this.#clear(`${user}/${name}`)
    this.#namedAtMs.set(`${user}/${name}`, this.#parts.time.now())
    for (const [link, holdings] of this.#holdings) {
      if (!this.#parts.network.links.has(link)) this.#holdings.delete(link)
      for (const holding of holdings.values()) if (holding.key === `${user}/${name}`) holding.progress = 0
    }
  }

  #said(frame: Frame, holdings: Map<number, Holding>, asked: Map<number, Asked | undefined>): void {
    const message = decode(frame)
    const holding = holdings.get(frame.instance)
    if (message.event === 'StartPostFileAck' || message.event === 'ContinuePostFileAck') {
      const { key, version } = asked.get(frame.seq) ?? {}
      asked.set(frame.seq, undefined)
      if (key && version) holdings.set(message.instance, this.#opened(key, version, message.progress))
    } else if (message.event === 'PostFileAck') {
      if (holding) this.#acknowledged(holding, message)
    } else if (message.event === 'FileMd5Ack') {
      if (holding) this.#standings.delete(holding.key)
    } else if (message.event === 'FileMd5Nack' || message.event === 'PostFileNack') {
      if (!holding) return
      holding.progress = 0
      if (message.event === 'FileMd5Nack') this.#verifies(holding, false)
      if (codeOf(message.code) === 'digest-mismatch') this.#clear(holding.key)
    }
  }

  /** A chunk is sent: the bytes in flight fit in the window. */
  #sent(holding: Holding | undefined, { progress, content }: Message<'PostFileReq'>): void {
    const { windowBytes } = this.#parts
    const end = progress + lengthOf(content)
    if (holding && end > holding.most + windowBytes)
      this.#parts.trace.fail(`${holding.key}: ${end} bytes are sent where ${holding.most} are acknowledged`)
  }

  /** An upload that begins anew has no earlier progress. */
  #asked(user: string, message: Opening): Asked {
    const asked = { key: `${user}/${message.fileName}`, version: versionOf(message) }
    const isOther = this.#standings.get(asked.key)?.version !== asked.version
    if (message.event === 'StartPostFileReq' || isOther) this.#standings.delete(asked.key)
    return asked
  }

  #opened(key: string, version: string, progress: number): Holding {
    const standing = this.#standings.get(key)
    const isLost = this.#parts.disk.rot.hasHitUpload(recordKey(...userAndName(key)))
    if (standing?.version === version && progress < standing.durable && !standing.verifying && !isLost)
      this.#parts.trace.fail(`${key}: ${standing.durable} bytes were durable, and it goes on at ${progress}`)
    this.#standings.set(key, {
      version,
      durable: progress < (standing?.durable ?? 0) ? 0 : (standing?.durable ?? 0),
      verifying: false,
    })
    // A reply from the turn in which the reason was given can have been sent before the reason, and arrive after it.
    const isNamed = this.#namedAtMs.get(key) === this.#parts.time.now()
    return { key, progress: isNamed ? 0 : progress, most: progress }
  }

  #acknowledged(holding: Holding, { progress, durable }: Message<'PostFileAck'>): void {
    const { key, progress: before } = holding
    const standing = this.#standings.get(key)
    if (progress < before) this.#parts.trace.fail(`${key}: the progress falls from ${before} to ${progress}`)
    if (durable < (standing?.durable ?? 0))
      this.#parts.trace.fail(`${key}: what is durable falls from ${standing?.durable} to ${durable}`)
    holding.progress = progress
    holding.most = Math.max(holding.most, progress)
    if (standing) standing.durable = durable
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

/** Returns the user of `user/name`. */
function userAndName(key: string): [user: string, name: string] {
  const slash = key.indexOf('/')
  return [key.slice(0, slash), key.slice(slash + 1)]
}

const versionOf = ({ size, modifiedAt, digest }: Opening): string => `${size} ${modifiedAt} ${digest}`
