import { codeOf } from '../errors.ts'
import type { LogEntry } from '../ports/log.ts'
import type { Frame } from '../wire/frame.ts'
import { decode, type Message } from '../wire/message.ts'
import type { Link } from './network.ts'
import type { World } from './world.ts'

/** How far an upload of one version of a file was said to be. */
interface Standing {
  readonly version: string
  durable: number
  /** It is being verified, which may clear it. */
  verifying: boolean
}

/** What a link has under an instance. */
interface Holding {
  readonly key: string
  progress: number
}

type Opening = Message<'StartPostFileReq' | 'ContinuePostFileReq'>

/** Looks at what the server says of uploads: how far they are never falls without a reason that has a name. */
export class UploadWatch {
  readonly #world: World
  /** By user and name. */
  readonly #standings = new Map<string, Standing>()
  readonly #holdings = new Map<Link, Map<number, Holding>>()

  constructor(world: World) {
    this.#world = world
  }

  watch(link: Link): void {
    const { server } = link
    const { heard, sent } = server
    const opening = new Map<number, { readonly key: string; readonly version: string }>()
    const holdings = new Map<number, Holding>()
    this.#holdings.set(link, holdings)
    let user = ''
    server.heard = (frame) => {
      const message = decode(frame)
      if (message.event === 'HelloReq') user = message.userName
      else if (message.event === 'StartPostFileReq' || message.event === 'ContinuePostFileReq') {
        const asked = { key: `${user}/${message.fileName}`, version: versionOf(message) }
        opening.set(frame.seq, asked)
        if (message.event === 'StartPostFileReq' || this.#standings.get(asked.key)?.version !== asked.version)
          this.#standings.delete(asked.key)
      } else if (message.event === 'CancelFileReq') this.#standings.delete(`${user}/${message.fileName}`)
      else if (message.event === 'FileMd5Req') this.#verifies(holdings.get(frame.instance), true)
      return heard(frame)
    }
    server.sent = (frame) => {
      sent(frame)
      if (!server.over) this.#said(frame, holdings, opening)
    }
  }

  /** The server names a reason for which an upload may go back. */
  reason({ event, user, name }: LogEntry): void {
    if (event !== 'upload-damaged' && event !== 'upload-expired') return
    this.#clear(`${user}/${name}`)
    for (const [link, holdings] of this.#holdings) {
      if (!this.#world.network.links.has(link)) this.#holdings.delete(link)
      for (const holding of holdings.values()) if (holding.key === `${user}/${name}`) holding.progress = 0
    }
  }

  #said(
    frame: Frame,
    holdings: Map<number, Holding>,
    opening: Map<number, { readonly key: string; readonly version: string }>,
  ): void {
    const message = decode(frame)
    const holding = holdings.get(frame.instance)
    if (message.event === 'StartPostFileAck' || message.event === 'ContinuePostFileAck') {
      const asked = opening.get(frame.seq)
      // One that is said again says nothing.
      opening.delete(frame.seq)
      if (asked) holdings.set(message.instance, this.#opened(asked.key, asked.version, message.progress))
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

  #opened(key: string, version: string, progress: number): Holding {
    const standing = this.#standings.get(key)
    if (standing?.version === version && progress < standing.durable && !standing.verifying)
      this.#world.fail(`${key}: ${standing.durable} bytes were durable, and it goes on at ${progress}`)
    this.#standings.set(key, {
      version,
      durable: progress < (standing?.durable ?? 0) ? 0 : (standing?.durable ?? 0),
      verifying: false,
    })
    return { key, progress }
  }

  #acknowledged(holding: Holding, { progress, durable }: Message<'PostFileAck'>): void {
    const { key, progress: before } = holding
    const standing = this.#standings.get(key)
    if (progress < before) this.#world.fail(`${key}: the progress falls from ${before} to ${progress}`)
    if (durable < (standing?.durable ?? 0))
      this.#world.fail(`${key}: what is durable falls from ${standing?.durable} to ${durable}`)
    holding.progress = progress
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

const versionOf = ({ size, modifiedAt, digest }: Opening): string => `${size} ${modifiedAt} ${digest}`
