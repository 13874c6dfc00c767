import { OspError } from '../../errors.ts'
import type {
  Announcement,
  Claim,
  NewTransfer,
  QuotaPart,
  QuotaRoom,
  SettledFile,
  StoredFile,
  TransferRecord,
  UnfinishedTotals,
} from '../../ports/storage.ts'
import type { KeyedMutex } from '../../runtime/mutex.ts'
import type { FileKey, FileRecord } from '../../storage/catalogue/fileRecords.ts'
import { isResultOf } from '../../storage/transfers/claimRules.ts'
import { recordKey } from '../../storage/transfers/recordStore.ts'
import { fileRecordOf } from '../../storage/transfers/rows.ts'
import {
  type Announced,
  type ClaimDecision,
  type ClusterLink,
  type ClusterSessionLink,
  type FoundUpload,
  type ImportedMarker,
  type LinkClaim,
  OutcomeUnknown,
  type TransferSteps,
  type WaitingMarker,
} from '../cluster/steps.ts'
import type { SharedServers } from './sharedServers.ts'
import type { SharedSessions } from './sharedSessions.ts'
import { comparedNames, SharedStoredFiles, savedMap } from './sharedStoredFiles.ts'

interface Row {
  record: TransferRecord
  readonly holder: ClusterLink
  isHeld: boolean
  readonly reserved: QuotaPart
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
  /** What an announced file adds to the quota of its user. */
  readonly adds: QuotaPart
  reported: boolean
}

type EndReason = 'superseded' | 'cancelled'
type Subject = Pick<Claim, 'user' | 'name'>

/**
 * The records of uploads in a shared store in memory. Servers of the previous version of the schema set `isOlder`: they replace
 * markers and verified records.
 */
export class SharedTransfers implements TransferSteps {
  readonly #servers: SharedServers
  readonly #wallTime: () => number
  readonly #sessions: SharedSessions
  readonly #rows = new Map<string, Row>()
  readonly #markers = new Map<string, Marker>()
  readonly #ended = new Map<number, EndReason>()
  /** The records of stored files. */
  readonly files: SharedStoredFiles
  /** What the published files of each user have added to the quota. */
  readonly #added = new Map<string, QuotaPart>()
  #lastToken = 0
  #restored = 0
  readonly #turns: KeyedMutex

  constructor(servers: SharedServers, sessions: SharedSessions, wallTime: () => number) {
    this.#servers = servers
    this.#sessions = sessions
    this.#turns = sessions.turns
    this.#wallTime = wallTime
    const pending = (user: string) =>
      Array.from(this.#rows.values()).flatMap((row) => {
        const { record } = row
        const isHeld = this.#isHeld(row)
        return record.user === user && (isHeld || record.verified) ? [{ record, isHeld }] : []
      })
    const unpublished = (user: string) =>
      Array.from(this.#markers.values()).flatMap(({ announced, source }) =>
        announced.file.user === user && source !== undefined ? [{ ...announced, source }] : [],
      )
    const uploads = { marked: (key: FileKey) => this.#marked(key), pending, unpublished }
    this.files = new SharedStoredFiles(servers, sessions, uploads, wallTime)
  }

  get lastToken(): number {
    return this.#lastToken
  }

  /** Returns a function that restores the current state. Claims that are being decided then end. */
  saved(): () => void {
    const maps = [savedMap(this.#rows), savedMap(this.#markers), savedMap(this.#ended), savedMap(this.#added)]
    const restored = [...maps, this.files.saved()]
    return () => {
      this.#restored++
      for (const restore of restored) restore()
    }
  }

  /** Raises tokens above this one. */
  raise(token: number): void {
    this.#lastToken = Math.max(this.#lastToken, token)
  }

  claim(
    by: ClusterSessionLink,
    { user, name, storeAs = name }: Pick<NewTransfer, 'user' | 'name' | 'storeAs'>,
    decide: (found: FoundUpload) => Promise<ClaimDecision>,
    isRecovery = false,
  ): ReturnType<TransferSteps['claim']> {
    return this.#turns.run(user, async () => {
      if (!isRecovery) this.#sessions.check(by)
      else if (this.#servers.isDead(by.server)) throw new OspError('link-lost', 'this server was declared dead')
      const key = recordKey(user, name)
      const before = this.#rows.get(key)
      const decision = await this.#unlessRestored(decide(this.#found(user, name, storeAs)))
      if ('completed' in decision) {
        if (before) this.#end(before, 'superseded')
        return decision
      }
      const token = ++this.#lastToken
      const record = { ...decision.record, token }
      if (before) this.#end(before, 'superseded')
      const holder = { server: by.server, link: by.link }
      const released = before?.released ?? 0
      this.#rows.set(key, { record, holder, isHeld: true, reserved: decision.reserved, released })
      return { claim: { user, name, token }, record, released, ...(before && { former: claimOf(before) }) }
    })
  }

  async #unlessRestored<T>(decision: Promise<T>): Promise<T> {
    const restored = this.#restored
    const decided = await decision
    if (restored !== this.#restored) throw new OutcomeUnknown('the store has gone back to an earlier state')
    return decided
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

  verified(claim: Claim, file: StoredFile, stamp: string, isOlder = false): ReturnType<TransferSteps['verified']> {
    return this.#turns.run(claim.user, async () => {
      const row = this.#rowOf(claim)
      const waiting = row && !isOlder ? this.#waiting([claim]) : []
      const changes = row && waiting.length === 0 ? this.files.changesOf(file.user, file.storedName) : []
      const isRefused = changes.length > 0 || waiting.length > 0
      if (row && !isRefused) row.record = { ...row.record, verified: file, verifiedStamp: stamp }
      return { holds: row !== undefined, changes, waiting }
    })
  }

  complete(claim: Claim, until: number): Promise<boolean> {
    return this.#turns.run(claim.user, async () => {
      const key = recordKey(claim.user, claim.name)
      const row = this.#rowOf(claim)
      if (!row) return this.#markers.get(key)?.token === claim.token
      const { verified: file, verifiedStamp: version = '', modifiedAt, metadata = {} } = row.record
      if (!file) throw new OspError('internal', `the upload ${claim.name} of ${claim.user} is not verified`)
      this.#rows.delete(key)
      const { server } = row.holder
      this.#add(claim.user, row.reserved)
      const announced = { file, version, modifiedAt }
      const marker = { announced, until, server, token: claim.token, source: undefined, adds: none, reported: false }
      this.#markers.set(key, marker)
      this.files.add(fileRecordOf({ file, stamp: version, modifiedAt, metadata }))
      return true
    })
  }

  announce(
    server: number,
    announced: readonly Announcement[],
    until: number,
    by?: ClusterSessionLink,
    room?: Omit<QuotaRoom, 'refusal'>,
    isOlder = false,
  ): Promise<Announced> {
    const users = new Set(announced.map(({ file }) => file.user))
    return this.#turns.runAll([...users], async () => {
      const subjects = announced.map(({ file: { user, name }, version, source }) => ({ user, name, version, source }))
      const waiting = this.#waiting(subjects).filter(({ source }) => !isOlder || source !== undefined)
      const unfinished = subjects.flatMap(({ user, name }) => {
        const record = this.#rows.get(recordKey(user, name))?.record
        return record?.verified && !isOlder ? [record] : []
      })
      const refused = { changes: [], waiting, unfinished, isOverQuota: false, ended: [] }
      if (waiting.length > 0 || unfinished.length > 0) return refused
      const changes = announced.flatMap(({ file }) => this.files.changesOf(file.user, file.storedName))
      if (changes.length > 0) return { ...refused, changes: [...new Set(changes)] }
      if (room && !this.#fits(announced, room)) return { ...refused, isOverQuota: true }
      if (by) this.#sessions.check(by)
      const ended = announced.flatMap((file) => this.#announce(server, file, until))
      return { ...refused, ended }
    })
  }

  /** Stores the marker of an announced file. Returns the claim that has ended, if there was one. */
  #announce(server: number, announced: Announcement, until: number): readonly LinkClaim[] {
    const { file, version, modifiedAt, metadata, source, adds = none } = announced
    const key = recordKey(file.user, file.name)
    const row = this.#rows.get(key)
    if (row) this.#end(row, 'superseded')
    const own = { file, version, modifiedAt, ...(metadata && { metadata }) }
    const marker = { announced: own, until, server, token: undefined, source, adds, reported: false }
    this.#markers.set(key, marker)
    return row ? [claimOf(row)] : []
  }

  /** Returns the markers of these names that must not be replaced, except those with these versions and sources. */
  #waiting(
    subjects: readonly (Subject & { readonly version?: string; readonly source?: string | undefined })[],
  ): readonly WaitingMarker[] {
    return subjects.flatMap((subject) => {
      const marker = this.#markers.get(recordKey(subject.user, subject.name))
      if (!marker || (marker.reported && marker.source === undefined)) return []
      const { announced, source, server } = marker
      if (announced.version === subject.version && source === subject.source) return []
      return [{ ...announced, ...(source !== undefined && { source }), server }]
    })
  }

  settle(settled: readonly SettledFile[]): Promise<void> {
    const users = new Set(settled.map(({ user }) => user))
    return this.#turns.runAll([...users], async () => {
      for (const { user, name, source, isStored } of settled) {
        const marker = this.#markers.get(recordKey(user, name))
        if (!marker || marker.source !== source) continue
        this.#add(user, marker.adds)
        if (isStored) {
          marker.source = undefined
          const { version: stamp, ...announced } = marker.announced
          this.files.add(fileRecordOf({ stamp, ...announced }))
        } else this.#markers.delete(recordKey(user, name))
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

  remove(
    user: string,
    name: string,
    by: ClusterSessionLink | undefined,
    token?: number,
  ): Promise<LinkClaim | undefined> {
    return this.#turns.run(user, async () => {
      if (by) this.#sessions.check(by)
      const row = this.#rows.get(recordKey(user, name))
      if (!row || (token !== undefined && row.record.token !== token)) return undefined
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

  forget(want: NewTransfer, digest: string, isOlder = false): ReturnType<TransferSteps['forget']> {
    const key = recordKey(want.user, want.name)
    return this.#turns.run(want.user, async () => {
      const { file, modifiedAt } = this.#markers.get(key)?.announced ?? {}
      const isMeant = file && isResultOf({ ...file, modifiedAt }, want, digest)
      const [waiting] = isMeant && !isOlder ? this.#waiting([want]) : []
      if (waiting) return waiting
      if (isMeant) this.#markers.delete(key)
      this.files.forget(want, digest)
      return undefined
    })
  }

  async records(of: string | undefined, after: Subject | undefined, most: number): Promise<readonly TransferRecord[]> {
    const records = Array.from(this.#rows.values(), ({ record }) => record)
    const later = records.filter(
      (record) => (of === undefined || record.user === of) && (!after || comparedNames(record, after) > 0),
    )
    return later.sort(comparedNames).slice(0, most)
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
    return {
      uploads: rows.length,
      bytes: rows.reduce((sum, row) => sum + bytesOf(row), 0),
      announced: this.#announced(user, except, server),
      added: this.#added.get(user) ?? none,
    }
  }

  async marker(user: string, name: string): Promise<Announcement | undefined> {
    const marker = this.#markers.get(recordKey(user, name))
    return marker && marker.until >= this.#wallTime() ? marker.announced : undefined
  }

  async reported(files: Parameters<TransferSteps['reported']>[0]): Promise<void> {
    for (const { user, name, version } of files) {
      const marker = this.#markers.get(recordKey(user, name))
      if (marker && (version ?? marker.announced.version) === marker.announced.version) marker.reported = true
    }
  }

  async unreported(server: number): Promise<readonly Announcement[]> {
    return Array.from(this.#markers.values()).flatMap(({ reported, announced, source, server: by }) =>
      !reported && (by === server || this.#servers.isDead(by)) ? [source ? { ...announced, source } : announced] : [],
    )
  }

  async abandoned(): ReturnType<TransferSteps['abandoned']> {
    const rows = Array.from(this.#rows.values()).filter((row) => row.record.verified && !this.#isHeld(row))
    return { records: rows.map(({ record }) => record), changes: this.files.abandoned() }
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
        this.#markers.set(key, { announced, until, server, token: undefined, source: undefined, adds: none, reported })
    }
  }

  addUpload(server: number, given: TransferRecord): void {
    const key = recordKey(given.user, given.name)
    if (this.#rows.has(key)) return
    const record = { ...given, owner: { ...given.owner, node: 0, instance: 0 }, token: ++this.#lastToken }
    this.#rows.set(key, { record, holder: { server, link: 0 }, isHeld: false, reserved: none, released: 0 })
  }

  /** Releases the uploads of a dead server. */
  died(server: number): void {
    for (const row of this.#rows.values()) if (row.holder.server === server) row.isHeld = false
  }

  #found(user: string, name: string, storeAs: string): FoundUpload {
    const key = recordKey(user, name)
    const row = this.#rows.get(key)
    const marker = this.#markers.get(key)
    const others = Array.from(this.#rows.values()).filter(({ record }) => record.user === user && record.name !== name)
    const held = others.filter((other) => this.#isHeld(other))
    const free = others.filter((other) => !this.#isHeld(other))
    return {
      record: row?.record,
      isHeld: row !== undefined && this.#isHeld(row),
      reserved: row?.reserved ?? none,
      marker: marker && marker.until >= this.#wallTime() ? marker.announced : undefined,
      files: this.files.of(user, storeAs),
      changes: this.files.changesOf(user, storeAs),
      unpublished: marker?.source,
      otherNames: others.map(({ record }) => record.name),
      others: {
        uploads: others.length,
        held: held.length,
        bytes: free.reduce((sum, { record }) => sum + receivedBytes(record), 0),
        reserved: sumOf(held.map(({ reserved }) => reserved)),
        announced: this.#announced(user, [name]),
        added: this.#added.get(user) ?? none,
        allUploads: this.#rows.size - (row ? 1 : 0),
      },
    }
  }

  /** Returns whether announced files of a user fit in addition to the other files. */
  #fits(files: readonly Announcement[], room: Omit<QuotaRoom, 'refusal'>): boolean {
    const user = files[0]?.file.user ?? ''
    const names = new Set(files.map(({ file }) => file.name))
    const rows = Array.from(this.#rows.values()).filter(({ record }) => record.user === user && !names.has(record.name))
    const others = rows.map((row) =>
      this.#isHeld(row) ? row.reserved : { growth: receivedBytes(row.record) + room.entryBytes, entries: 1 },
    )
    const adds = sumOf(files.map((file) => file.adds ?? none))
    const all = sumOf([...others, adds, this.#announced(user, [...names]), this.#added.get(user) ?? none])
    return (adds.growth <= 0 || all.growth <= room.growth) && (adds.entries <= 0 || all.entries <= room.entries)
  }

  /**
   * Returns what the announced files that may not be published yet add to the quota, except those of these names and of a server.
   */
  #announced(user: string, except: readonly string[], server?: number): QuotaPart {
    const markers = Array.from(this.#markers.values()).filter(
      ({ announced: { file }, source, server: by }) =>
        file.user === user && source !== undefined && by !== server && !except.includes(file.name),
    )
    return sumOf(markers.map(({ adds }) => adds))
  }

  /** Returns the record of a version that has a completion marker. */
  #marked({ user, name, version }: FileKey): FileRecord | undefined {
    const marker = this.#markers.get(recordKey(user, name))?.announced
    if (marker?.version !== version || marker.file.storedName !== name) return undefined
    return fileRecordOf({ ...marker, stamp: version })
  }

  #add(user: string, part: QuotaPart): void {
    this.#added.set(user, sumOf([this.#added.get(user) ?? none, part]))
  }

  /** Removes a row, and remembers for its holder why its claim has ended. A verified upload may have been published. */
  #end({ record: { user, name, token, verified }, reserved }: Row, why: EndReason): void {
    if (verified) this.#add(user, reserved)
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

/** Returns the claim of a row, and its owner. */
const claimOf = ({ record: { user, name, token }, holder }: Row): LinkClaim => ({ user, name, token, ...holder })

const none: QuotaPart = { growth: 0, entries: 0 }

const sumOf = (parts: readonly QuotaPart[]): QuotaPart => ({
  growth: parts.reduce((sum, { growth }) => sum + growth, 0),
  entries: parts.reduce((sum, { entries }) => sum + entries, 0),
})

const receivedBytes = ({ verified, checkpoints }: TransferRecord) => verified?.size ?? checkpoints.at(-1)?.offset ?? 0
