import { fixed } from '../../limits.ts'
import type { Clock } from '../../ports/platform.ts'
import type { PresenceMember } from '../../ports/presence.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { type Parts, Writer } from '../../wire/codec.ts'
import { list, struct, u8, u32 } from '../../wire/fields.ts'
import { type Encoded, encode, type WireMessage } from '../../wire/message.ts'
import { rosterChange, rosterEntry, rosterKind } from '../../wire/protocol.ts'

type Change = WireMessage<'RegistListNtf'>['members'][number]

/**
 * The list of online clients (the seed's 在线客户端列表). Each change increments its version. Changes are collected for `gatherMs`
 * and sent to all registered clients in one frame, which is encoded once.
 */
export class PresenceList {
  readonly #members = new Map<number, string>()
  readonly #entries = new EncodedEntries()
  readonly #gatherMs: number
  readonly #clock: Clock
  readonly #broadcast: (notice: Encoded<'RegistListNtf'>) => void
  readonly #alarm: Alarm
  version = 0
  #unsent: Change[] = []
  #sentAt = Number.NEGATIVE_INFINITY
  /** The payload of the whole list, if it was encoded since the last change. */
  #whole: Parts | undefined

  constructor(gatherMs: number, clock: Clock, broadcast: (notice: Encoded<'RegistListNtf'>) => void) {
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

  enter({ node, user }: PresenceMember): void {
    if (this.#members.has(node)) return
    this.#members.set(node, user)
    this.#entries.add(node, user)
    this.#changed({ change: rosterChange.here, node, userName: user })
  }

  leave({ node, user }: PresenceMember): void {
    if (!this.#members.delete(node)) return
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
    // A single change is sent at once. Changes soon after it are collected.
    if (this.#unsent.length === 1) this.#alarm.by(Math.max(this.#clock.now(), this.#sentAt + this.#gatherMs))
  }

  #send(): void {
    const members = this.#unsent
    if (members.length === 0) return
    this.#unsent = []
    this.#sentAt = this.#clock.now()
    const event = 'RegistListNtf'
    const notice = { event, listVersion: this.version, kind: rosterKind.changes, members } as const
    this.#broadcast({ event, payload: encode(notice) })
  }
}

const listHead = struct({ listVersion: u32, kind: u8, members: list(rosterEntry) })

/** The encoded entries of the list, one after another: to encode them for each client would take most of the time. */
class EncodedEntries {
  /** Length of each entry in bytes, by node, in the order of the entries. */
  readonly #lengths = new Map<number, number>()
  #bytes = new Uint8Array(1_024)
  #filled = 0

  add(node: number, userName: string): void {
    const entry = { change: rosterChange.here, node, userName }
    const writer = new Writer(rosterEntry.size(entry))
    rosterEntry.write(writer, entry)
    const { bytes } = writer
    if (this.#filled + bytes.length > this.#bytes.length) {
      const larger = new Uint8Array(2 * (this.#filled + bytes.length))
      larger.set(this.#bytes.subarray(0, this.#filled))
      this.#bytes = larger
    }
    this.#bytes.set(bytes, this.#filled)
    this.#filled += bytes.length
    this.#lengths.set(node, bytes.length)
  }

  remove(node: number): void {
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
    const empty = { listVersion, kind: rosterKind.whole, members: [] }
    const writer = new Writer(listHead.size(empty))
    listHead.write(writer, empty)
    // The number of entries is the last field of the head.
    writer.at -= 2
    writer.unsigned(2, this.#lengths.size)
    return [writer.bytes, this.#bytes.slice(0, this.#filled)]
  }
}
