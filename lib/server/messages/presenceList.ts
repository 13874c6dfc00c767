import { fixed } from '../../limits.ts'
import type { Clock } from '../../ports/platform.ts'
import type { PresenceMember } from '../../ports/presence.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { type Parts, Writer } from '../../wire/codec.ts'
import { list, struct, u8, u32 } from '../../wire/fields.ts'
import { type Encoded, sharedNotice, type WireMessage } from '../../wire/message.ts'
import { rosterChange, rosterEntry, rosterKind } from '../../wire/protocol.ts'
import { costs } from '../connections/requestCost.ts'

type Change = WireMessage<'RegistListNtf'>['members'][number]

/** Broadcasts of changes take at most about this part of the processing time. */
const broadcastShare = 1 / 5

/** The changes of one broadcast. */
export interface PresenceChanges {
  /** Returns the changes after a version of the list, if any. Clients that need the same changes share them. */
  after(version: number): Encoded<'RegistListNtf'> | undefined
}

/**
 * The list of online clients (the seed's 在线客户端列表). Each change increments its version. A single change is sent at once.
 * Changes soon after it are collected for `gatherMs`, or longer if there are many clients, and sent to all registered clients in
 * one frame, which is encoded once. A client that has registered in the meantime gets only the changes after its own list.
 */
export class PresenceList {
  readonly #members = new Map<number, string>()
  /**
   * By user, the nodes that were added and not removed, in ascending order. Only the last one is a member of the list, so that all
   * servers of a cluster list the same one.
   */
  readonly #nodes = new Map<string, readonly number[]>()
  readonly #entries = new EncodedEntries()
  readonly #leastGatherMs: number
  readonly #clock: Clock
  readonly #broadcast: (changes: PresenceChanges) => number
  readonly #alarm: Alarm
  version = 0
  #unsent: Change[] = []
  #sentAt = Number.NEGATIVE_INFINITY
  /** Minimum time from the latest broadcast to the next. */
  #gatherMs: number
  /** The payload of the whole list, if it was encoded since the last change. */
  #whole: Parts | undefined

  /** `broadcast` sends changes to all registered clients, and returns their number. */
  constructor(gatherMs: number, clock: Clock, broadcast: (changes: PresenceChanges) => number) {
    this.#leastGatherMs = gatherMs
    this.#gatherMs = gatherMs
    this.#clock = clock
    this.#broadcast = broadcast
    this.#alarm = new Alarm(clock, () => this.#send())
  }

  get size(): number {
    return this.#members.size
  }

  /** Number of changes that were not sent yet. */
  get unsent(): number {
    return this.#unsent.length
  }

  /** The version up to which all changes were sent. */
  get sentVersion(): number {
    return this.version - this.#unsent.length
  }

  *[Symbol.iterator](): Iterator<PresenceMember> {
    for (const [node, user] of this.#members) yield { node, user }
  }

  /** Returns whether a link of this user is in the list. */
  isOnline(user: string): boolean {
    return this.#nodes.has(user)
  }

  /**
   * Adds a link. If its user has several links, for several devices or because a server detects the end of a link only after the
   * start of the next one, only the link with the highest number is in the list.
   */
  enter({ node, user }: PresenceMember): void {
    const nodes = this.#nodes.get(user) ?? []
    if (nodes.includes(node)) return
    const former = nodes.at(-1) ?? 0
    this.#nodes.set(
      user,
      [...nodes, node].sort((a, b) => a - b),
    )
    if (former > node) return
    if (former > 0) this.#remove({ node: former, user })
    this.#add({ node, user })
  }

  /** Removes a link. If its user has another link that was not removed, that link is in the list again. */
  leave({ node, user }: PresenceMember): void {
    const nodes = this.#nodes.get(user) ?? []
    const others = nodes.filter((other) => other !== node)
    if (others.length === nodes.length) return
    const latest = others.at(-1)
    if (latest === undefined) this.#nodes.delete(user)
    else this.#nodes.set(user, others)
    if (nodes.at(-1) !== node) return
    this.#remove({ node, user })
    if (latest !== undefined) this.#add({ node: latest, user })
  }

  #add({ node, user }: PresenceMember): void {
    this.#members.set(node, user)
    this.#entries.add(node, user)
    this.#changed({ change: rosterChange.here, node, userName: user })
  }

  #remove({ node, user }: PresenceMember): void {
    this.#members.delete(node)
    this.#entries.remove(node)
    this.#changed({ change: rosterChange.gone, node, userName: user })
  }

  /** Returns the whole list, encoded once for each version. */
  whole<K extends 'RegistListNtf' | 'ListAck'>(event: K): Encoded<K> {
    this.#whole ??= this.#entries.payload(this.version)
    return { event, payload: this.#whole }
  }

  stop(): void {
    this.#alarm.stop()
  }

  #changed(change: Change): void {
    this.version++
    this.#whole = undefined
    this.#unsent.push(change)
    // The limit of changes in a frame is the limit of clients.
    if (this.#unsent.length === fixed.clientsMost) this.#send()
    if (this.#unsent.length === 1) this.#alarm.by(Math.max(this.#clock.now(), this.#sentAt + this.#gatherMs))
  }

  #send(): void {
    if (this.#unsent.length === 0) return
    const changes = new UnsentChanges(this.version, this.#unsent)
    this.#unsent = []
    this.#sentAt = this.#clock.now()
    const clients = this.#broadcast(changes)
    this.#gatherMs = Math.max(this.#leastGatherMs, (clients * costs.notice) / broadcastShare)
  }
}

/** Changes up to a version of the list. Each of them is encoded once, and each frame of them once for all links. */
class UnsentChanges implements PresenceChanges {
  readonly #version: number
  readonly #first: number
  readonly #bytes: Uint8Array
  /** Where each change begins. */
  readonly #starts: readonly number[]
  /** The latest frame, and the version after which its changes begin. */
  #latest: { readonly after: number; readonly notice: Encoded<'RegistListNtf'> } | undefined
  readonly #all: Encoded<'RegistListNtf'>

  constructor(version: number, changes: readonly Change[]) {
    this.#version = version
    this.#first = version - changes.length
    let length = 0
    this.#starts = changes.map((change) => {
      const start = length
      length += rosterEntry.size(change)
      return start
    })
    const writer = new Writer(length)
    for (const change of changes) rosterEntry.write(writer, change)
    this.#bytes = writer.bytes
    this.#all = sharedNotice(this.#noticeFrom(0))
  }

  after(version: number): Encoded<'RegistListNtf'> | undefined {
    if (version <= this.#first) return this.#all
    if (version >= this.#version) return undefined
    if (this.#latest?.after !== version) {
      this.#latest = { after: version, notice: this.#noticeFrom(version - this.#first) }
    }
    return this.#latest.notice
  }

  #noticeFrom(at: number): Encoded<'RegistListNtf'> {
    const head = headOf(this.#version, rosterKind.changes, this.#starts.length - at)
    const payload = [head, this.#bytes.subarray(this.#starts[at])]
    return { event: 'RegistListNtf', payload }
  }
}

const listHead = struct({ listVersion: u32, kind: u8, members: list(rosterEntry) })

/** Returns the beginning of the payload of REGIST_LIST_NTF or LIST_ACK, up to its entries. */
function headOf(listVersion: number, kind: number, entries: number): Uint8Array {
  const empty = { listVersion, kind, members: [] }
  const writer = new Writer(listHead.size(empty))
  listHead.write(writer, empty)
  // The number of entries is the last field of the head.
  writer.at -= 2
  writer.unsigned(2, entries)
  return writer.bytes
}

/** The encoded entries of the list, one after another: to encode them for each client would take most of the time. */
class EncodedEntries {
  /** Length of each entry in bytes, by node, in the order of the entries. */
  readonly #lengths = new Map<number, number>()
  #bytes = new Uint8Array(1_024)
  #filled = 0
  /** Whether a payload has a part of `#bytes`, which is therefore only appended to. */
  #isShared = false

  add(node: number, userName: string): void {
    const entry = { change: rosterChange.here, node, userName }
    const writer = new Writer(rosterEntry.size(entry))
    rosterEntry.write(writer, entry)
    const { bytes } = writer
    if (this.#filled + bytes.length > this.#bytes.length) this.#move(2 * (this.#filled + bytes.length))
    this.#bytes.set(bytes, this.#filled)
    this.#filled += bytes.length
    this.#lengths.set(node, bytes.length)
  }

  remove(node: number): void {
    if (this.#isShared) this.#move(this.#bytes.length)
    let at = 0
    for (const [other, length] of this.#lengths) {
      if (other === node) {
        this.#bytes.copyWithin(at, at + length, this.#filled)
        this.#filled -= length
        break
      }
      at += length
    }
    this.#lengths.delete(node)
  }

  /** Returns the payload of REGIST_LIST_NTF or LIST_ACK with all entries. */
  payload(listVersion: number): Parts {
    this.#isShared = true
    return [headOf(listVersion, rosterKind.whole, this.#lengths.size), this.#bytes.subarray(0, this.#filled)]
  }

  #move(length: number): void {
    const moved = new Uint8Array(length)
    moved.set(this.#bytes.subarray(0, this.#filled))
    this.#bytes = moved
    this.#isShared = false
  }
}
