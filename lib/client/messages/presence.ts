import { Multiset } from '../../core/multiset.ts'
import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { isUserName } from '../../names.ts'
import type { Listenable } from '../../ports/listenable.ts'
import type { PresenceMember } from '../../ports/presence.ts'
import { deferred } from '../../runtime/deferred.ts'
import { Emitter } from '../../runtime/emitter.ts'
import type { WireMessage } from '../../wire/message.ts'
import { rosterChange, rosterKind } from '../../wire/protocol.ts'
import { type OnlineLink, protocolViolation } from '../connection/session.ts'

export interface PresenceEvents {
  /** A member has come or gone. */
  change: [member: PresenceMember, change: 'here' | 'gone']
  /** The whole list has arrived; emitted after its differences to the former list. */
  whole: [members: readonly PresenceMember[]]
}

/**
 * The users who listen, the client itself included. While the client is offline the list stays as it was. The next link brings
 * the whole list, and its differences are emitted as changes.
 */
export interface Presence extends Listenable<PresenceEvents>, Iterable<PresenceMember> {
  /** The server's count of changes, 0 at first. Versions of different links cannot be compared. */
  readonly version: number
  readonly size: number
  /** Whether this user listens. */
  has(user: string): boolean
  /** Resolves when the first whole list has arrived; rejects as `Client.online` does. */
  ready(): Promise<void>
}

type PresenceList = WireMessage<'RegistListNtf' | 'ListAck'>

/** Follows the server's list of members (docs/protocol.md, "Messages", The list). */
export class PresenceView extends Emitter<PresenceEvents> implements Presence {
  #members = new Map<number, PresenceMember>()
  /** The number of links of each user. */
  readonly #users = new Multiset()
  readonly #ready = deferred<void>()
  version = 0
  #link: OnlineLink | undefined
  /** The version on this link; `undefined` until its whole list has arrived. */
  #known: number | undefined
  #announced = 0
  #asking = false

  get size(): number {
    return this.#members.size
  }

  has(user: string): boolean {
    return this.#users.of(user) > 0
  }

  [Symbol.iterator](): Iterator<PresenceMember> {
    return [...this.#members.values()][Symbol.iterator]()
  }

  ready(): Promise<void> {
    return this.#ready.promise
  }

  open(link: OnlineLink): void {
    this.#link = link
    this.#known = undefined
    this.#announced = 0
    this.#asking = false
  }

  lost(): void {
    this.#link = undefined
  }

  /** Rejects `ready` if no list has arrived. */
  fail(error: OspError): void {
    this.#ready.reject(error)
  }

  /** Handles the server's word that it has sent all changes up to this version. */
  announced(listVersion: number): void {
    this.#announced = Math.max(this.#announced, listVersion)
    if (this.#known === undefined || this.#known < listVersion) void this.#askOnce()
  }

  /** Takes a whole list, or changes. Throws OspError `malformed`. */
  take(list: PresenceList): void {
    const { kind, members } = list
    for (const { userName: name } of members) {
      if (!this.has(name) && !isUserName(name)) throw protocolViolation('its presence list contains an invalid name')
    }
    if (kind === rosterKind.whole) this.#takeWhole(list)
    else if (kind === rosterKind.changes && list.event === 'RegistListNtf') this.#takeChanges(list)
    else throw protocolViolation(`it sent a presence list of the unknown kind ${kind}`)
  }

  #takeWhole({ listVersion, members }: PresenceList): void {
    if (this.#known !== undefined && listVersion < this.#known) return
    const whole = new Map<number, PresenceMember>()
    for (const { change, node, userName: user } of members) {
      if (change !== rosterChange.here || whole.has(node))
        throw protocolViolation('its whole presence list contains a member twice, or as gone')
      whole.set(node, { node, user })
    }
    this.#checkSize(whole.size)
    this.#known = this.version = listVersion
    const before = this.#members
    for (const member of before.values()) if (whole.get(member.node)?.user !== member.user) this.#remove(member)
    for (const member of whole.values()) if (!this.#members.has(member.node)) this.#add(member)
    this.emit('whole', [...this.#members.values()])
    this.#ready.resolve()
  }

  #takeChanges({ listVersion, members }: PresenceList): void {
    const before = listVersion - members.length
    if (before < 0) throw protocolViolation('its presence list contains more changes than its version')
    if (this.#known === undefined || before > this.#known) {
      this.announced(listVersion)
      return
    }
    for (const { change, node, userName: user } of members.slice(this.#known - before)) {
      if (change !== rosterChange.here && change !== rosterChange.gone)
        throw protocolViolation(`its presence list contains the unknown change ${change}`)
      this.#known = this.version = this.#known + 1
      const former = this.#members.get(node)
      if (change === rosterChange.here && former?.user === user) continue
      if (former) this.#remove(former)
      if (change === rosterChange.here) this.#add({ node, user })
    }
    this.#checkSize(this.#members.size)
  }

  /** Asks for the whole list, unless a request is under way. Repeats it while the list is older than announced and advances. */
  async #askOnce(): Promise<void> {
    const link = this.#link
    if (this.#asking || !link) return
    this.#asking = true
    try {
      for (let before = -1; this.#behind && before < (this.#known ?? 0); ) {
        before = this.#known ?? 0
        this.take(await link.peer.ask({ event: 'ListReq' }).reply)
        if (this.#link !== link) return
      }
    } catch (error) {
      await link.peer.close(OspError.from(error))
    } finally {
      if (this.#link === link) this.#asking = false
    }
  }

  get #behind(): boolean {
    return this.#known === undefined || this.#known < this.#announced
  }

  #checkSize(members: number): void {
    if (members > fixed.clientsMost) throw protocolViolation(`its presence list has over ${fixed.clientsMost} members`)
  }

  #add(member: PresenceMember): void {
    this.#members.set(member.node, member)
    this.#users.add(member.user)
    this.emit('change', member, 'here')
  }

  #remove(member: PresenceMember): void {
    this.#members.delete(member.node)
    this.#users.remove(member.user)
    this.emit('change', member, 'gone')
  }
}
