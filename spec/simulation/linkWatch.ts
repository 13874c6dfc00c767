import { numberOf } from '../../lib/errors.ts'
import type { Limits } from '../../lib/limits.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { decode, type WireMessage } from '../../lib/wire/message.ts'
import { events, registFlags, rosterChange, rosterKind } from '../../lib/wire/protocol.ts'
import type { SimulatedDisk } from './disk.ts'
import type { MessageActor } from './messageActor.ts'
import type { MessageInvariants } from './messageInvariants.ts'
import type { Link, SimulatedNetwork } from './network.ts'
import type { SimulatedProcess } from './process.ts'
import type { Trace } from './trace.ts'

/** Names by node. */
type List = ReadonlyMap<number, string>

type Told = Pick<WireMessage<'RegistListNtf' | 'ListAck'>, 'listVersion' | 'kind' | 'members'>

/** The presence list of one run of the server at each version, as far as clients have received it. */
class ListHistory {
  readonly #lists = new Map<number, List>([[0, new Map()]])

  /** Records a received list or change; returns whether it agrees with those of other clients. */
  take({ listVersion, kind, members }: Told): boolean {
    if (kind === rosterKind.whole) {
      const list = new Map(members.map(({ node, userName }) => [node, userName]))
      const known = this.#lists.get(listVersion)
      this.#lists.set(listVersion, list)
      return known === undefined || sameList(known, list)
    }
    let version = listVersion - members.length
    let list = this.#lists.get(version)
    for (const { change, node, userName } of members) {
      if (!list) return true
      const next = new Map(list)
      if (change === rosterChange.here) next.set(node, userName)
      else next.delete(node)
      list = next
      this.#lists.set(++version, next)
    }
    return true
  }

  at(version: number): List | undefined {
    return this.#lists.get(version)
  }
}

function sameList(a: List, b: List): boolean {
  return a.size === b.size && [...a].every(([node, user]) => b.get(node) === user)
}

/** The known state of a program's link. */
interface Watched {
  readonly link: Link
  readonly program: MessageActor
  /** Number of messages that had left their mailboxes when it was opened. */
  readonly openedAt: number
  /** Its latest registration, and the granted instance. */
  flags: number
  isListening: boolean
  instance: number | undefined
  /** The places of the messages that a REQ has delivered, by its seq. */
  readonly requests: Map<number, readonly number[]>
  /**
   * Delivered messages by their place in the mailbox, with their bytes, except those behind an earlier message that is
   * still stored.
   */
  readonly delivered: Map<number, number>
}

/** The parts of a world that the invariants of message links use. */
interface LinkParts {
  readonly trace: Trace
  readonly disk: Pick<SimulatedDisk, 'rot'>
  readonly network: Pick<SimulatedNetwork, 'links'>
  readonly limits: Limits
  /** A session is not superseded at a server that has lost its lease. */
  readonly server: { readonly hasLostLease?: boolean }
  readonly mail: { readonly programs: readonly MessageActor[]; readonly invariants: MessageInvariants }
}

/** Checks the frames that arrive at both ends of links: deliveries, instances and the presence list. */
export class LinkWatch {
  readonly #parts: LinkParts
  readonly #links = new Map<Link, Watched>()
  /**
   * `recipient place` of the messages that have durably left their mailbox or that this device has handled, with the number of earlier
   * messages.
   */
  readonly #gone = new Map<string, number>()
  /** Those of them whose removal the storage has lost, or whose device was removed. */
  readonly #returned = new Set<string>()
  /** Superseded processes, each by the run of the server that superseded it. */
  readonly #superseded = new Map<SimulatedProcess, SimulatedProcess>()
  /** The link over which each process was last granted a listening registration. */
  readonly #listening = new Map<SimulatedProcess, Link>()
  readonly #histories = new Map<SimulatedProcess, ListHistory>()
  /** For the process of a program: the history of its list, and the checked version. */
  readonly #listed = new Map<SimulatedProcess, { readonly history: ListHistory; version: number }>()

  constructor(parts: LinkParts) {
    this.#parts = parts
  }

  watch(link: Link): void {
    const { clientProcess, client, server } = link
    const program = this.#parts.mail.programs.find(({ run }) => run?.process === clientProcess)
    if (!program) return
    const openedAt = this.#gone.size
    const common = {
      link,
      program,
      openedAt,
      requests: new Map<number, readonly number[]>(),
      delivered: new Map<number, number>(),
    }
    const watched: Watched = { ...common, flags: 0, isListening: false, instance: undefined }
    this.#links.set(link, watched)
    const { heard: byClient } = client
    const { heard: byServer } = server
    client.heard = (frame) => {
      if (!client.over) this.#told(watched, frame)
      return byClient(frame)
    }
    const { sent } = server
    server.sent = (frame) => {
      sent(frame)
      this.#left(watched, frame)
    }
    server.heard = (frame) => {
      this.#asked(watched, frame)
      return byServer(frame)
    }
  }

  /**
   * These messages have durably left the mailbox of a recipient, were set aside, or were handled by it: links opened from now on do
   * not deliver them.
   */
  gone(recipient: string, places: readonly number[]): void {
    for (const place of places) {
      this.#gone.set(`${recipient} ${place}`, this.#gone.size)
      this.#returned.delete(`${recipient} ${place}`)
    }
  }

  /** A device of this recipient was removed. If it becomes known again, it receives its messages again. */
  removed(recipient: string): void {
    for (const name of this.#gone.keys()) if (name.startsWith(`${recipient} `)) this.#returned.add(name)
  }

  /** The storage is about to lose its changes. Returns a function that is called when they are lost. */
  losing(): () => void {
    const before = this.#gone.size
    return () => {
      for (const [name, count] of this.#gone) if (count >= before) this.#returned.add(name)
    }
  }

  /** Returns the name under which a message has left for a recipient: the name of its device, or the name of the user. */
  #goneFor({ recipient, user }: MessageActor, place: number): string | undefined {
    return [recipient, user].map((name) => `${name} ${place}`).find((name) => this.#gone.has(name))
  }

  /** Called after every step: the list of each program equals that of the server at that version. */
  check(): void {
    for (const { run } of this.#parts.mail.programs) {
      const listed = run && this.#listed.get(run.process)
      if (!run || !listed || listed.version === run.client.presence.version) continue
      const { presence } = run.client
      listed.version = presence.version
      const list = listed.history.at(presence.version)
      const own = new Map([...presence].map(({ node, user }) => [node, user]))
      if (own.size !== presence.size) this.#parts.trace.fail(`${run.process.name} lists a node twice`)
      if (list && !sameList(list, own))
        this.#parts.trace.fail(`${run.process.name} has another list of version ${presence.version} than the server`)
    }
  }

  #told(watched: Watched, frame: Frame): void {
    const { DeliverMsgReq, RegistAck, RegistListNtf, ListAck } = events
    if (frame.event === DeliverMsgReq.number) this.#delivered(watched, frame)
    if (frame.event === RegistAck.number) this.#granted(watched, decode(frame) as WireMessage<'RegistAck'>)
    if (frame.event === RegistListNtf.number || frame.event === ListAck.number)
      this.#listedTo(watched, decode(frame) as WireMessage<'RegistListNtf' | 'ListAck'>)
  }

  /** Checks that a superseded process does not register as listening again. */
  #left({ link, flags }: Watched, frame: Frame): void {
    const { clientProcess, serverProcess } = link
    const isListening = frame.event === events.RegistAck.number && (flags & registFlags.listening) !== 0
    const wasSuperseded = this.#superseded.get(clientProcess) === serverProcess && !this.#parts.server.hasLostLease
    if (isListening && wasSuperseded) this.#parts.trace.fail(`${clientProcess.name} listens again, and was superseded`)
    if (isListening) this.#listening.set(clientProcess, link)
    if (frame.event !== events.GoodbyeNtf.number) return
    const { code } = decode(frame) as WireMessage<'GoodbyeNtf'>
    // A server that got no notification does not know that the same process has replaced its former link elsewhere.
    const isFormer = this.#listening.get(clientProcess) !== link
    if (code === numberOf('superseded') && !isFormer) this.#superseded.set(clientProcess, serverProcess)
  }

  #asked(watched: Watched, frame: Frame): void {
    if (frame.event === events.RegistReq.number) watched.flags = (decode(frame) as WireMessage<'RegistReq'>).flags
    if (frame.event === events.DeliverMsgNtf.number)
      this.#reported(watched, decode(frame) as WireMessage<'DeliverMsgNtf'>)
    if (frame.event !== events.DeliverMsgAck.number) return
    const { mailboxSeq, rejected } = decode(frame) as WireMessage<'DeliverMsgAck'>
    const { user, recipient } = watched.program
    const places = watched.requests.get(frame.seq) ?? []
    if (!places.includes(mailboxSeq)) this.#parts.trace.fail(`a delivery to ${user} is acknowledged as ${mailboxSeq}`)
    for (const { mailboxSeq: place } of rejected)
      if (!places.includes(place)) this.#parts.trace.fail(`${user} rejects message ${place} of another delivery`)
    const handled = places.filter((place) => !rejected.some(({ mailboxSeq }) => mailboxSeq === place))
    this.#checkKept(recipient, handled)
  }

  /** Checks that the messages of a delivery up to the reported one are handled. */
  #reported({ program, requests }: Watched, { mailboxSeq }: WireMessage<'DeliverMsgNtf'>): void {
    const places = [...requests.values()].find((request) => request.includes(mailboxSeq)) ?? []
    this.#checkKept(
      program.recipient,
      places.filter((place) => place <= mailboxSeq),
    )
  }

  #checkKept(recipient: string, places: readonly number[]): void {
    for (const place of places)
      if (!this.#parts.mail.invariants.isKept(recipient, place))
        this.#parts.trace.fail(`message ${place} is acknowledged by ${recipient}, and its receipt is not stored`)
  }

  /**
   * Checks a delivery and the window, counted from the oldest message that is not durably removed; the last message may
   * exceed its bytes.
   */
  #delivered(watched: Watched, frame: Frame): void {
    const { link, program, requests, delivered, openedAt } = watched
    const { messages } = decode(frame) as WireMessage<'DeliverMsgReq'>
    // A repeated delivery changes nothing.
    if (requests.has(frame.seq)) return
    requests.set(
      frame.seq,
      messages.map(({ mailboxSeq }) => mailboxSeq),
    )
    if (link.client.reliable && !watched.isListening)
      this.#parts.trace.fail(`messages are delivered to ${program.user}, which does not listen`)
    for (const { mailboxSeq: place, body } of messages) {
      if (this.#parts.disk.rot.hasHitPlace(program.user, place)) continue
      const name = this.#goneFor(program, place)
      if (name !== undefined && (this.#gone.get(name) ?? 0) < openedAt && !this.#returned.has(name))
        this.#parts.trace.fail(`message ${place} is delivered to ${program.recipient}, and was handled before`)
      delivered.set(place, body.length)
    }
    for (const first of [...delivered.keys()].sort((a, b) => a - b)) {
      if (this.#goneFor(program, first) === undefined && !this.#parts.disk.rot.hasHitPlace(program.user, first)) break
      delivered.delete(first)
    }
    this.#checkWindow(watched)
  }

  #checkWindow({ program, delivered }: Watched): void {
    const { deliveryWindow, deliveryBytes } = this.#parts.limits
    const bytes = [...delivered].sort(([a], [b]) => a - b).slice(0, -1)
    const before = bytes.reduce((sum, [, length]) => sum + length, 0)
    if (delivered.size > deliveryWindow)
      this.#parts.trace.fail(`${delivered.size} deliveries to ${program.user} are in flight`)
    if (delivered.size > 1 && before >= deliveryBytes)
      this.#parts.trace.fail(`deliveries of ${before} bytes, and one more, to ${program.user} are in flight`)
  }

  /** Checks that an instance has one holder: the previous holder receives nothing more on its link. */
  #granted(watched: Watched, { instance }: WireMessage<'RegistAck'>): void {
    if (instance < 1 || instance > this.#parts.limits.clients) this.#parts.trace.fail(`instance ${instance} is granted`)
    watched.instance = instance
    watched.isListening = (watched.flags & registFlags.listening) !== 0
    if (watched.link.server.over) return
    for (const [link, { instance: held }] of this.#links) {
      const isAtSame = link.serverProcess === watched.link.serverProcess
      if (!this.#parts.network.links.has(link)) this.#links.delete(link)
      else if (link !== watched.link && isAtSame && held === instance && !link.server.over)
        this.#parts.trace.fail(`two links hold instance ${instance}`)
    }
  }

  #listedTo({ link }: Watched, told: WireMessage<'RegistListNtf' | 'ListAck'>): void {
    const { clientProcess, serverProcess } = link
    const history = this.#histories.get(serverProcess) ?? new ListHistory()
    this.#histories.set(serverProcess, history)
    if (!history.take(told)) this.#parts.trace.fail(`there are two lists of version ${told.listVersion}`)
    const isNew = this.#listed.get(clientProcess)?.history !== history
    if (isNew && told.kind === rosterKind.whole) this.#listed.set(clientProcess, { history, version: -1 })
  }
}
