import { OspError } from '../../errors.ts'
import {
  type Comparison,
  type ImportOrigin,
  linkBlockSize,
  type PresenceChange,
  type PresenceSteps,
  raisedBy,
  raisedByBlocks,
  type SeenState,
  type ServerInfo,
  type ServerState,
  type ServerSteps,
  type StoredImport,
} from '../cluster/steps.ts'

interface SharedServer extends ServerInfo {
  readonly number: number
  readonly startedAt: number
  leaseUntil: number
  /** The number of messages that it has stored. */
  stored: number
  isDead: boolean
  age: number
  status: Readonly<Record<string, unknown>>
  /** The version of the latest change of its part of the presence list. */
  presenceVersion: number
  /** The latest change of each link, with its version. */
  readonly links: Map<number, PresenceChange & { readonly version: number }>
}

/** The servers of a shared store in memory, and the presence list. */
export class SharedServers implements ServerSteps, PresenceSteps {
  readonly #now: () => number
  readonly #wallTime: () => number
  /** Called for each server that is declared dead. */
  readonly #died: (server: number) => void
  #timeline = 0
  readonly #servers = new Map<number, SharedServer>()
  readonly #imports = new Map<string, StoredImport>()
  #lastNumber = 0
  #nextBlock = 1
  #lastTime = 0

  constructor(now: () => number, wallTime: () => number, died: (server: number) => void) {
    this.#now = now
    this.#wallTime = wallTime
    this.#died = died
  }

  /** The latest number of a server, and the first number of the latest block of link numbers. */
  get lastNumber(): number {
    return this.#lastNumber
  }

  get lastBlock(): number {
    return this.#nextBlock - linkBlockSize
  }

  isLiving(number: number): boolean {
    const server = this.#servers.get(number)
    return server !== undefined && !server.isDead && server.leaseUntil > this.#now()
  }

  isDead(number: number): boolean {
    return this.#servers.get(number)?.isDead ?? true
  }

  /** Returns whether a server with this version of the schema was not declared dead. */
  hasVersion(wanted: string): boolean {
    return Array.from(this.#servers.values()).some(({ version, isDead }) => version === wanted && !isDead)
  }

  /** Stores a time of the age clock. */
  reached(age: number): void {
    this.#lastTime = Math.max(this.#lastTime, age)
  }

  async enter(info: ServerInfo, leaseMs: number): Promise<number> {
    this.#checkImports()
    for (const { boot, number } of this.#servers.values()) if (boot === info.boot) return number
    return this.#add(info, leaseMs)
  }

  #add(info: ServerInfo, leaseMs: number): number {
    const number = ++this.#lastNumber
    const lease = { startedAt: this.#wallTime(), leaseUntil: this.#now() + leaseMs }
    const unused = { stored: 0, isDead: false, age: 0, status: {}, presenceVersion: 0, links: new Map() }
    this.#servers.set(number, { ...info, number, ...lease, ...unused })
    return number
  }

  importList(): readonly StoredImport[] {
    return [...this.#imports.values()]
  }

  /** Implements `ImportSteps.begin`. `seqShift` is the latest seq. */
  beginImport({ id, place, lastTime }: ImportOrigin, seqShift: number): StoredImport {
    const known = this.#imports.get(id)
    if (known) return known
    this.#checkImports()
    const servers = Array.from(this.#servers.values())
    const running = servers.filter(({ number }) => this.isLiving(number)).map(({ name }) => name)
    if (running.length > 0) throw new OspError('data-locked', `servers are running: ${running.join(', ')}`)
    for (const server of servers) this.#end(server)
    const ageShift = this.#lastTime > 0 ? Math.min(0, this.#lastTime - lastTime) : 0
    const number = this.#add({ name: 'imported', boot: `imported ${id}`, version: '', address: place }, 0)
    const server = this.#servers.get(number)
    if (server) server.isDead = true
    this.reached(lastTime + ageShift)
    const begun = { id, place, server: number, seqShift, ageShift }
    this.#imports.set(id, begun)
    return begun
  }

  finishImport(id: string): void {
    const known = this.#imports.get(id)
    if (known) this.#imports.set(id, { finishedAt: this.#wallTime(), ...known })
  }

  /** Throws OspError `data-format` if an import is not finished. */
  #checkImports(): void {
    const unfinished = this.importList().find(({ finishedAt }) => finishedAt === undefined)
    if (unfinished) throw new OspError('data-format', `the import of ${unfinished.place} is not finished`)
  }

  async renew(
    number: number,
    leaseMs: number,
    age: number,
    status: Readonly<Record<string, unknown>>,
  ): Promise<boolean> {
    const server = this.#servers.get(number)
    if (!server || server.isDead) return false
    server.leaseUntil = this.#now() + leaseMs
    server.age = age
    server.status = status
    this.reached(age)
    return true
  }

  async leave(number: number): Promise<void> {
    const server = this.#servers.get(number)
    if (server) this.#end(server)
  }

  async declareDead(by: number): Promise<readonly number[]> {
    if (!this.isLiving(by)) return []
    const dead = Array.from(this.#servers.values()).filter(({ number, isDead }) => !isDead && !this.isLiving(number))
    for (const server of dead) this.#end(server)
    return dead.map(({ number }) => number)
  }

  async servers(): Promise<readonly ServerState[]> {
    return Array.from(this.#servers.values(), (server) => {
      const { number, links: _, age: __, stored: ___, leaseUntil, ...state } = server
      return { ...state, server: number, leaseMs: leaseUntil - this.#now() }
    })
  }

  /** Counts messages that a server has stored. Returns its total. */
  stored(number: number, messages: number): number {
    const server = this.#servers.get(number)
    if (server) server.stored += messages
    return server?.stored ?? 0
  }

  async compare(number: number, boot: string, seen: SeenState): Promise<Comparison> {
    const server = this.#servers.get(number)
    const isMember = server?.boot === boot
    const messages = Math.max(0, seen.stored - (isMember ? server.stored : 0))
    const isBehind = !isMember || messages > 0 || server.presenceVersion < seen.presenceVersion
    const timeline = String(this.#timeline)
    return { isMember, messages, isBehind: isBehind || this.#nextBlock <= seen.linkBlock, timeline }
  }

  async raise(number: number, { linkBlock }: Pick<SeenState, 'linkBlock'>): Promise<void> {
    this.#lastNumber = Math.max(this.#lastNumber, number + raisedBy)
    this.#nextBlock = Math.max(this.#nextBlock, linkBlock + raisedByBlocks * linkBlockSize)
  }

  /** Returns a function that restores the current state. */
  saved(): () => void {
    const servers = Array.from(this.#servers.values(), (server) => ({ ...server, links: new Map(server.links) }))
    const [lastNumber, nextBlock, lastTime] = [this.#lastNumber, this.#nextBlock, this.#lastTime]
    return () => {
      this.#timeline++
      this.#servers.clear()
      for (const server of servers) this.#servers.set(server.number, server)
      this.#lastNumber = lastNumber
      this.#nextBlock = nextBlock
      this.#lastTime = lastTime
    }
  }

  async linkBlock(): Promise<number> {
    const first = this.#nextBlock
    this.#nextBlock += linkBlockSize
    return first
  }

  async lastTime(): Promise<number> {
    return this.#lastTime
  }

  async present(number: number, after: number, changes: readonly PresenceChange[]): Promise<number> {
    const server = this.#servers.get(number)
    if (!server || server.isDead || server.presenceVersion !== after) return server?.presenceVersion ?? after
    server.presenceVersion = after + 1
    for (const change of changes) server.links.set(change.link, { ...change, version: server.presenceVersion })
    return server.presenceVersion
  }

  async presence(number: number, after: number): ReturnType<PresenceSteps['presence']> {
    const server = this.#servers.get(number)
    if (!server) return { version: 0, isWhole: true, changes: [] }
    const rows = Array.from(server.links.values())
    const isWhole = after === 0
    const changed = rows.filter(({ version, isHere }) => version > after && (isHere || !isWhole))
    return { version: server.presenceVersion, isWhole, changes: changed.map(({ version: _, ...change }) => change) }
  }

  #end(server: SharedServer): void {
    if (server.isDead) return
    server.isDead = true
    server.presenceVersion++
    for (const [link, row] of server.links)
      server.links.set(link, { ...row, isHere: false, version: server.presenceVersion })
    this.#died(server.number)
  }
}
