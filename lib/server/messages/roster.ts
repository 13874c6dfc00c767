import { fixed } from '../../limits.ts'
import type { Clock } from '../../ports/platform.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { type Encoded, encode, type Message } from '../../wire/message.ts'
import { rosterChange, rosterKind } from '../../wire/protocol.ts'
import { EncodedMembers } from './encodedMembers.ts'

/** Somebody who is online. */
export interface Member {
  readonly node: number
  readonly user: string
}

type Change = Message<'RegistListNtf'>['members'][number]

/**
 * The online list (the seed's 在线客户端列表). Each change counts one version. Changes are gathered for a moment and told to all
 * in one frame, which is encoded once.
 */
export class Roster {
  readonly #members = new Map<number, string>()
  readonly #encoded = new EncodedMembers()
  readonly #gatherMs: number
  readonly #clock: Clock
  readonly #broadcast: (notice: Encoded<'RegistListNtf'>) => void
  readonly #alarm: Alarm
  #version = 0
  #untold: Change[] = []
  #toldAt = Number.NEGATIVE_INFINITY
  #whole: { readonly version: number; readonly payload: Encoded['payload'] } | undefined

  constructor(gatherMs: number, clock: Clock, broadcast: (notice: Encoded<'RegistListNtf'>) => void) {
    this.#gatherMs = gatherMs
    this.#clock = clock
    this.#broadcast = broadcast
    this.#alarm = new Alarm(clock, () => this.#tell())
  }

  get size(): number {
    return this.#members.size
  }

  /** What the list stands at. */
  get version(): number {
    return this.#version
  }

  /** Changes that wait to be told. */
  get untold(): number {
    return this.#untold.length
  }

  /** Up to which version everybody has been sent the changes. */
  get toldVersion(): number {
    return this.#version - this.#untold.length
  }

  *[Symbol.iterator](): Iterator<Member> {
    for (const [node, user] of this.#members) yield { node, user }
  }

  enter({ node, user }: Member): void {
    if (this.#members.has(node)) return
    this.#members.set(node, user)
    this.#encoded.add(node, user)
    this.#changed({ change: rosterChange.here, node, userName: user })
  }

  leave({ node, user }: Member): void {
    if (!this.#members.delete(node)) return
    this.#encoded.remove(node)
    this.#changed({ change: rosterChange.gone, node, userName: user })
  }

  /** The whole list as it stands; put together once for each version. */
  whole<K extends 'RegistListNtf' | 'ListAck'>(event: K): Encoded<K> {
    if (this.#whole?.version !== this.#version) {
      this.#whole = { version: this.#version, payload: this.#encoded.payload(this.#version) }
    }
    return { event, payload: this.#whole.payload }
  }

  /** Tells nothing any more. */
  stop(): void {
    this.#alarm.stop()
  }

  #changed(change: Change): void {
    this.#version++
    this.#untold.push(change)
    // A frame has room for as many changes as for clients.
    if (this.#untold.length === fixed.clientsMost) this.#tell()
    // A lone change is told at once; those that follow it closely wait for each other.
    if (this.#untold.length === 1) this.#alarm.by(Math.max(this.#clock.now(), this.#toldAt + this.#gatherMs))
  }

  #tell(): void {
    const members = this.#untold
    if (members.length === 0) return
    this.#untold = []
    this.#toldAt = this.#clock.now()
    const event = 'RegistListNtf'
    const notice = { event, listVersion: this.#version, kind: rosterKind.changes, members } as const
    this.#broadcast({ event, payload: encode(notice) })
  }
}
