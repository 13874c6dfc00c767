import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { isUserName } from '../../names.ts'
import { deferred } from '../../runtime/deferred.ts'
import { Emitter } from '../../runtime/emitter.ts'
import type { Message as Event } from '../../wire/message.ts'
import { rosterChange, rosterKind } from '../../wire/protocol.ts'
import { protocolViolation } from '../connection/answers.ts'
import type { OnlineLink } from '../connection/session.ts'
import type { Member, Roster, RosterEvents } from './roster.ts'

type Told = Event<'RegistListNtf' | 'ListAck'>

/** The online list as a client follows it (docs/protocol.md, "Messages", The list). */
export class RosterView extends Emitter<RosterEvents> implements Roster {
  #members = new Map<number, Member>()
  /** How often each user is in it. */
  readonly #users = new Map<string, number>()
  readonly #ready = deferred<void>()
  #version = 0
  #link: OnlineLink | undefined
  /** Of this link; `undefined` until its whole list has come. */
  #known: number | undefined
  /** There were changes up to it. */
  #heardOf = 0
  #asking = false

  get version(): number {
    return this.#version
  }

  get size(): number {
    return this.#members.size
  }

  has(user: string): boolean {
    return this.#users.has(user)
  }

  [Symbol.iterator](): Iterator<Member> {
    return [...this.#members.values()][Symbol.iterator]()
  }

  ready(): Promise<void> {
    return this.#ready.promise
  }

  open(link: OnlineLink): void {
    this.#link = link
    this.#known = undefined
    this.#heardOf = 0
    this.#asking = false
  }

  lost(): void {
    this.#link = undefined
  }

  /** There will be no list any more. */
  fail(why: OspError): void {
    this.#ready.reject(why)
  }

  /** The link is registered; the whole list follows at once, unless it gets lost. */
  registered(listVersion: number): void {
    if (this.#link && !this.#link.peer.socket.reliable) this.announced(listVersion)
  }

  /** The server has told all changes up to this version. */
  announced(listVersion: number): void {
    this.#heardOf = Math.max(this.#heardOf, listVersion)
    if (this.#known === undefined || this.#known < listVersion) void this.#askOnce()
  }

  /** Takes a whole list, or changes. Throws OspError `malformed`. */
  take(told: Told): void {
    const { kind, members } = told
    for (const { userName: name } of members) {
      if (!this.#users.has(name) && !isUserName(name)) throw protocolViolation('a name in its list is not allowed')
    }
    if (kind === rosterKind.whole) this.#takeWhole(told)
    else if (kind === rosterKind.changes && told.event === 'RegistListNtf') this.#takeChanges(told)
    else throw protocolViolation(`it sends a list of the unknown kind ${kind}`)
  }

  #takeWhole({ listVersion, members }: Told): void {
    if (this.#known !== undefined && listVersion < this.#known) return
    const whole = new Map<number, Member>()
    for (const { change, node, userName: user } of members) {
      if (change !== rosterChange.here || whole.has(node))
        throw protocolViolation('its list names somebody twice, or as gone')
      whole.set(node, { node, user })
    }
    this.#checkSize(whole.size)
    this.#known = this.#version = listVersion
    const before = this.#members
    for (const member of before.values()) if (whole.get(member.node)?.user !== member.user) this.#remove(member)
    for (const member of whole.values()) if (!this.#members.has(member.node)) this.#add(member)
    const list = [...this.#members.values()]
    this.emit('whole', list)
    this.#ready.resolve()
  }

  #takeChanges({ listVersion, members }: Told): void {
    const before = listVersion - members.length
    if (before < 0) throw protocolViolation('its list has had more changes than its version counts')
    if (this.#known === undefined || before > this.#known) {
      this.announced(listVersion)
      return
    }
    for (const { change, node, userName: user } of members.slice(this.#known - before)) {
      if (change !== rosterChange.here && change !== rosterChange.gone)
        throw protocolViolation(`${change} is no change of a list`)
      this.#known = this.#version = this.#known + 1
      const former = this.#members.get(node)
      if (change === rosterChange.here && former?.user === user) continue
      if (former) this.#remove(former)
      if (change === rosterChange.here) this.#add({ node, user })
    }
    this.#checkSize(this.#members.size)
  }

  /** Asks for the whole list, if that is not being done; again where it is behind what was heard of, and gets on. */
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
    return this.#known === undefined || this.#known < this.#heardOf
  }

  #checkSize(members: number): void {
    if (members > fixed.clientsMost) throw protocolViolation(`its list has over ${fixed.clientsMost} members`)
  }

  #add(member: Member): void {
    this.#members.set(member.node, member)
    this.#users.set(member.user, (this.#users.get(member.user) ?? 0) + 1)
    this.emit('change', member, 'here')
  }

  #remove(member: Member): void {
    const { node, user } = member
    this.#members.delete(node)
    const others = (this.#users.get(user) ?? 1) - 1
    if (others > 0) this.#users.set(user, others)
    else this.#users.delete(user)
    this.emit('change', member, 'gone')
  }
}
