import { OspError } from '../../errors.ts'
import type {
  Announcement,
  Claim,
  NewTransfer,
  SettledFile,
  StoredFile,
  TransferRecord,
  UnfinishedTotals,
} from '../../ports/storage.ts'
import { KeyedMutex } from '../../runtime/mutex.ts'
import { recordKey } from '../../storage/transfers/recordStore.ts'
import type {
  Announced,
  AnnouncedFile,
  ClaimDecision,
  ClusterLink,
  ClusterSessionLink,
  FoundUpload,
  ImportedMarker,
  SessionSteps,
  TransferSteps,
} from '../cluster/steps.ts'
import type { SharedServers } from './sharedServers.ts'

interface Row {
  record: TransferRecord
  readonly holder: ClusterLink
  isHeld: boolean
  readonly reserved: number
  /** The token of the latest claim that was released. */
  released: number
}

interface Marker {
  readonly announced: Announcement
  readonly until: number
  /** The server that has completed or announced the file. */
  readonly server: number
  /** The claim under which the file was completed. */
  readonly token: number | undefined
  /** The source of an announced file that may not be published yet. */
  source: string | undefined
  reported: boolean
}

type EndReason = 'superseded' | 'cancelled'
type Subject = Pick<Claim, 'user' | 'name'>

/** The link of a session. */
interface SessionEntry extends ClusterLink {
  readonly user: string
  readonly attempt: number
  /** Rises with each link that is opened. */
  readonly opened: number
}

/** The links of sessions in a shared store in memory. */
export class SharedSessions implements SessionSteps {
  readonly #servers: SharedServers
  readonly #links = new Map<string, SessionEntry>()
  #opened = 0
  /** Runs the steps of one user one after another, so that none takes effect while a claim decides. */
  readonly turns = new KeyedMutex()

  constructor(servers: SharedServers) {
    this.#servers = servers
  }

  /** Returns whether this link is its session's. */
  has(link: ClusterSessionLink): boolean {
    const present = this.#links.get(sessionKey(link))
    return present !== undefined && isSameLink(present, link)
  }

  /** Returns the number with which a link was opened, if it is its session's. */
  openedOf(link: ClusterSessionLink): number | undefined {
    return this.has(link) ? this.#links.get(sessionKey(link))?.opened : undefined
  }

  /** Returns whether a session of this user has a link that was opened with a lower number. */
  hasOlder(user: string, opened: number): boolean {
    return Array.from(this.#links.values()).some((link) => link.user === user && link.opened < opened)
  }

  /** Throws OspError `link-lost` unless this link is the link of its session. */
  check(by: ClusterSessionLink): void {
    if (!this.#links.has(sessionKey(by))) throw new OspError('link-lost', `the session of ${by.user} has no link`)
    this.checkNotReplaced(by)
  }

  /** Throws OspError `link-lost` if the session has another link. */
  checkNotReplaced(by: ClusterSessionLink): void {
    const present = this.#links.get(sessionKey(by))
    if (!present || isSameLink(present, by)) return
    throw new OspError('link-lost', `a newer link of the same program of ${by.user} has replaced this one`)
  }

  openSession(link: ClusterSessionLink, attempt: number): Promise<ClusterLink | undefined> {
    return this.turns.run(link.user, async () => {
      if (this.#servers.isDead(link.server)) throw new OspError('link-lost', 'this server was declared dead')
      const former = this.#links.get(sessionKey(link))
      const isOther = former !== undefined && !isSameLink(former, link)
      if (isOther && former.attempt > attempt) throw new OspError('link-replaced')
      const { user, server, link: number } = link
      this.#links.set(sessionKey(link), { user, server, link: number, attempt, opened: ++this.#opened })
      return isOther ? { server: former.server, link: former.link } : undefined
    })
  }

  closeSession(link: ClusterSessionLink): Promise<void> {
    return this.turns.run(link.user, async () => {
      const present = this.#links.get(sessionKey(link))
      if (present && isSameLink(present, link)) this.#links.delete(sessionKey(link))
    })
  }

  /** Returns a function that restores the present state. */
  saved(): () => void {
    const links = [...this.#links]
    const opened = this.#opened
    return () => {
      this.#links.clear()
      for (const [key, link] of links) this.#links.set(key, link)
      this.#opened = opened
    }
  }

  /** Removes the links of a dead server from their sessions. */
  died(server: number): void {
    for (const [key, link] of this.#links) if (link.server === server) this.#links.delete(key)
  }
}

/** The records of uploads in a shared store in memory. */
export class SharedTransfers implements TransferSteps {
  readonly #servers: SharedServers
  readonly #wallTime: () => number
  readonly #sessions: SharedSessions
  readonly #rows = new Map<string, Row>()
  readonly #markers = new Map<string, Marker>()
  readonly #ended = new Map<number, EndReason>()
  #lastToken = 0
  readonly #turns: KeyedMutex

  constructor(servers: SharedServers, sessions: SharedSessions, wallTime: () => number) {
    this.#servers = servers
    this.#sessions = sessions
    this.#turns = sessions.turns
    this.#wallTime = wallTime
  }

  get lastToken(): number {
    return this.#lastToken
  }

  /** Raises tokens above this one. */
  raise(token: number): void {
    this.#lastToken = Math.max(this.#lastToken, token)
  }

  claim(
    by: ClusterSessionLink,
    { user, name }: Pick<NewTransfer, 'user' | 'name'>,
    decide: (found: FoundUpload) => Promise<ClaimDecision>,
    isRecovery = false,
  ): ReturnType<TransferSteps['claim']> {
    return this.#turns.run(user, async () => {
      if (!isRecovery) this.#sessions.check(by)
      else if (this.#servers.isDead(by.server)) throw new OspError('link-lost', 'this server was declared dead')
      const key = recordKey(user, name)
      const before = this.#rows.get(key)
      const decision = await decide(this.#found(user, name))
      if ('completed' in decision) {
        if (before) this.#end(before, 'superseded')
        return decision
      }
      if (decision.dropsMarker) this.#markers.delete(key)
      const token = ++this.#lastToken
      const record = { ...decision.record, token }
      if (before) this.#end(before, 'superseded')
      const holder = { server: by.server, link: by.link }
      const released = before?.released ?? 0
      this.#rows.set(key, { record, holder, isHeld: true, reserved: decision.reserved, released })
      return { claim: { user, name, token }, record, released, ...(before && { former: claimOf(before) }) }
    })
  }

  checkpoint(batch: Parameters<TransferSteps['checkpoint']>[0]): Promise<readonly boolean[]> {
    const users = new Set(batch.map(({ claim }) => claim.user))
    return this.#turns.runAll([...users], async () =>
      batch.map(({ claim, checkpoints, at }) => {
        const row = this.#rowOf(claim)
        if (!row) return false
        const own = checkpoints.map(({ offset, digest }) => ({ offset, digest: Uint8Array.from(digest) }))
        row.record = { ...row.record, checkpoints: own, updatedAt: at }
        return true
      }),
    )
  }

  verified(claim: Claim, file: StoredFile, stamp: string): Promise<boolean> {
    return this.#turns.run(claim.user, async () => {
      const row = this.#rowOf(claim)
      if (row) row.record = { ...row.record, verified: file, verifiedStamp: stamp }
      return row !== undefined
    })
  }

  complete(claim: Claim, until: number): Promise<boolean> {
    return this.#turns.run(claim.user, async () => {
      const key = recordKey(claim.user, claim.name)
      const row = this.#rowOf(claim)
      if (!row) return this.#markers.get(key)?.token === claim.token
      const { verified: file, verifiedStamp: version = '', modifiedAt } = row.record
      if (!file) throw new OspError('internal', `the upload ${claim.name} of ${claim.user} is not verified`)
      this.#rows.delete(key)
      const { server } = row.holder
      const announced = { file, version, modifiedAt }
      this.#markers.set(key, { announced, until, server, token: claim.token, source: undefined, reported: false })
      return true
    })
  }

  announce(
    server: number,
    files: readonly AnnouncedFile[],
    until: number,
    by?: ClusterSessionLink,
  ): Promise<Announced> {
    const users = new Set(files.map(({ file }) => file.user))
    return this.#turns.runAll([...users], async () => {
      if (by) this.#sessions.check(by)
      const unpublished = files.flatMap(({ file: { user, name }, source: own, replaces }) => {
        const source = this.#markers.get(recordKey(user, name))?.source
        return source === undefined || source === own || source === replaces ? [] : [{ user, name, source }]
      })
      if (unpublished.length > 0) return { unpublished, ended: [] }
      const ended: (Claim & ClusterLink)[] = []
      for (const { file, version, modifiedAt, source } of files) {
        const key = recordKey(file.user, file.name)
        const row = this.#rows.get(key)
        if (row) this.#end(row, 'superseded')
        if (row) ended.push(claimOf(row))
        const announced = { file, version, modifiedAt }
        this.#markers.set(key, { announced, until, server, token: undefined, source, reported: false })
      }
      return { unpublished, ended }
    })
  }

  settle(files: readonly SettledFile[]): Promise<void> {
    const users = new Set(files.map(({ user }) => user))
    return this.#turns.runAll([...users], async () => {
      for (const { user, name, source, isStored } of files) {
        const marker = this.#markers.get(recordKey(user, name))
        if (!marker || marker.source !== source) continue
        if (isStored) marker.source = undefined
        else this.#markers.delete(recordKey(user, name))
      }
    })
  }

  async release(claims: readonly Claim[]): Promise<void> {
    const users = new Set(claims.map(({ user }) => user))
    await this.#turns.runAll([...users], async () => {
      for (const claim of claims) {
        const row = this.#rowOf(claim)
        if (!row) continue
        row.isHeld = false
        row.released = claim.token
      }
    })
  }

  remove(user: string, name: string, by: ClusterSessionLink | undefined): Promise<(Claim & ClusterLink) | undefined> {
    return this.#turns.run(user, async () => {
      if (by) this.#sessions.check(by)
      const row = this.#rows.get(recordKey(user, name))
      if (!row) return undefined
      this.#end(row, 'cancelled')
      return claimOf(row)
    })
  }

  expire(user: string, name: string, before: number, by?: ClusterSessionLink): Promise<TransferRecord | undefined> {
    return this.#turns.run(user, async () => {
      if (by) this.#sessions.check(by)
      const row = this.#rows.get(recordKey(user, name))
      if (!row || row.record.verified || row.record.updatedAt >= before) return undefined
      if (!by && this.#isHeld(row)) return undefined
      this.#end(row, 'cancelled')
      return row.record
    })
  }

  forget(user: string, name: string, version?: string): Promise<void> {
    return this.#turns.run(user, async () => {
      const key = recordKey(user, name)
      if (version === undefined || this.#markers.get(key)?.announced.version === version) this.#markers.delete(key)
    })
  }

  async records(of: string | undefined, after: Subject | undefined, most: number): Promise<readonly TransferRecord[]> {
    const records = Array.from(this.#rows.values(), ({ record }) => record)
    const later = records.filter(
      (record) => (of === undefined || record.user === of) && (!after || comparedBytes(record, after) > 0),
    )
    return later.sort(comparedBytes).slice(0, most)
  }

  async record(user: string, name: string): Promise<TransferRecord | undefined> {
    return this.#rows.get(recordKey(user, name))?.record
  }

  async totals(user: string, except: readonly string[], server: number): Promise<UnfinishedTotals> {
    const rows = Array.from(this.#rows.values()).filter(
      ({ record }) => record.user === user && !except.includes(record.name),
    )
    const bytesOf = (row: Row) =>
      row.holder.server !== server && this.#isHeld(row) ? row.record.size : receivedBytes(row.record)
    return { uploads: rows.length, bytes: rows.reduce((sum, row) => sum + bytesOf(row), 0) }
  }

  async marker(user: string, name: string): Promise<Announcement | undefined> {
    const marker = this.#markers.get(recordKey(user, name))
    return marker && marker.until >= this.#wallTime() ? marker.announced : undefined
  }

  async reported(files: readonly Subject[]): Promise<void> {
    for (const { user, name } of files) {
      const marker = this.#markers.get(recordKey(user, name))
      if (marker) marker.reported = true
    }
  }

  async unreported(server: number): Promise<readonly Announcement[]> {
    return Array.from(this.#markers.values()).flatMap(({ reported, announced, source, server: by }) =>
      !reported && (by === server || this.#servers.isDead(by)) ? [source ? { ...announced, source } : announced] : [],
    )
  }

  async abandoned(): Promise<readonly TransferRecord[]> {
    return Array.from(this.#rows.values()).flatMap((row) =>
      row.record.verified && !this.#isHeld(row) ? [row.record] : [],
    )
  }

  async ended(tokens: readonly number[]): ReturnType<TransferSteps['ended']> {
    return tokens.flatMap((token) => {
      const why = this.#ended.get(token)
      return why ? [{ token, why }] : []
    })
  }

  /** The users with uploads or completion markers. */
  userNames(): readonly string[] {
    const files = Array.from(this.#markers.values(), ({ announced }) => announced.file)
    return [...files, ...Array.from(this.#rows.values(), ({ record }) => record)].map(({ user }) => user)
  }

  addMarkers(server: number, markers: readonly ImportedMarker[]): void {
    for (const { until, reported, ...announced } of markers) {
      const key = recordKey(announced.file.user, announced.file.name)
      if (!this.#markers.has(key))
        this.#markers.set(key, { announced, until, server, token: undefined, source: undefined, reported })
    }
  }

  addUpload(server: number, given: TransferRecord): void {
    const key = recordKey(given.user, given.name)
    if (this.#rows.has(key)) return
    const record = { ...given, owner: { ...given.owner, node: 0, instance: 0 }, token: ++this.#lastToken }
    this.#rows.set(key, { record, holder: { server, link: 0 }, isHeld: false, reserved: 0, released: 0 })
  }

  /** Releases the uploads of a dead server. */
  died(server: number): void {
    for (const row of this.#rows.values()) if (row.holder.server === server) row.isHeld = false
  }

  #found(user: string, name: string): FoundUpload {
    const key = recordKey(user, name)
    const row = this.#rows.get(key)
    const marker = this.#markers.get(key)
    const others = Array.from(this.#rows.values()).filter(({ record }) => record.user === user && record.name !== name)
    const held = others.filter((other) => this.#isHeld(other))
    const free = others.filter((other) => !this.#isHeld(other))
    return {
      record: row?.record,
      isHeld: row !== undefined && this.#isHeld(row),
      reserved: row?.reserved ?? 0,
      marker: marker && marker.until >= this.#wallTime() ? marker.announced : undefined,
      unpublished: marker?.source,
      otherNames: others.map(({ record }) => record.name),
      others: {
        uploads: others.length,
        held: held.length,
        bytes: free.reduce((sum, { record }) => sum + receivedBytes(record), 0),
        reserved: held.reduce((sum, { reserved }) => sum + reserved, 0),
        allUploads: this.#rows.size - (row ? 1 : 0),
      },
    }
  }

  /** Removes a row, and remembers for its holder why its claim has ended. */
  #end({ record: { user, name, token } }: Row, why: EndReason): void {
    this.#rows.delete(recordKey(user, name))
    this.#ended.set(token, why)
  }

  #isHeld({ isHeld, holder }: Row): boolean {
    return isHeld && this.#servers.isLiving(holder.server)
  }

  /** Returns the row of a claim that is still valid. */
  #rowOf({ user, name, token }: Claim): Row | undefined {
    const row = this.#rows.get(recordKey(user, name))
    return row?.record.token === token ? row : undefined
  }
}

const sessionKey = ({ user, session }: ClusterSessionLink) => `${user}\0${session}`

const isSameLink = (a: ClusterLink, b: ClusterLink) => a.server === b.server && a.link === b.link

/** Returns the claim of a row, and its owner. */
const claimOf = ({ record: { user, name, token }, holder }: Row): Claim & ClusterLink => ({
  user,
  name,
  token,
  ...holder,
})

const receivedBytes = ({ verified, checkpoints }: TransferRecord) => verified?.size ?? checkpoints.at(-1)?.offset ?? 0

/** Compares users, then names, by their bytes in UTF-8. */
function comparedBytes(a: Subject, b: Subject): number {
  return (
    Buffer.compare(Buffer.from(a.user), Buffer.from(b.user)) || Buffer.compare(Buffer.from(a.name), Buffer.from(b.name))
  )
}
