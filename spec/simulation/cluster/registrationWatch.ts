import { hex } from '../../../lib/runtime/hex.ts'
import type { Frame } from '../../../lib/wire/frame.ts'
import { decode, type WireMessage } from '../../../lib/wire/message.ts'
import { events, registFlags, rosterChange, rosterKind } from '../../../lib/wire/protocol.ts'
import type { MessageActor } from '../messageActor.ts'
import type { Link } from '../network.ts'
import type { Machine, SimulatedProcess } from '../process.ts'
import type { Trace } from '../trace.ts'
import { reconnectMs, type StorePaths, slowMs } from './storePath.ts'

/**
 * The time within which a server that reaches the store finds that a link or a registration has been replaced, even if it takes no
 * steps for the link.
 */
const pollMs = 1_000
/** The most directions of steps that pass until it has found it. */
const mostSteps = 30
/** Interval in which links are compared. */
const compareMs = 100

/** The parts of a world that the invariants of registrations use. */
interface RegistrationParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly paths: StorePaths
  readonly mail: { readonly programs: readonly MessageActor[] }
}

/** A link of a program, and the presence list that was sent over it. */
interface Watched {
  readonly link: Link
  /** The user, or the device of the user, for which the program receives messages. */
  readonly recipient: string
  /** The flags of its latest request for a registration. */
  flags: number
  isListening: boolean
  /** The version of its list; undefined until it has received one. */
  version: number | undefined
  /** The users in the list, by node. */
  list: Map<number, string>
}

/**
 * Checks the links of each session and the registrations of each user at all servers, and the presence list of each link. Two links
 * of a session do not stay open while their servers reach the store, nor do two links of a device stay registered as
 * listening. On each link the list is a possible history: its versions have no gaps, and a
 * user enters it only while the user is not in it.
 */
export class RegistrationWatch {
  readonly #parts: RegistrationParts
  /** The link of each session that was told last that it is open. */
  readonly #links = new Map<string, Link>()
  /** The links whose registration was confirmed, by recipient. */
  readonly #listening = new Map<string, Set<Watched>>()
  /** Called with each message that is sent to a recipient. */
  delivered: (recipient: string, seq: number) => void = () => {}

  constructor(parts: RegistrationParts) {
    this.#parts = parts
  }

  watch(link: Link): void {
    this.#watchSession(link)
    const program = this.#parts.mail.programs.find(({ run }) => run?.process === link.clientProcess)
    if (!program) return
    const { recipient } = program
    const watched: Watched = { link, recipient, flags: 0, isListening: false, version: undefined, list: new Map() }
    const { client, server } = link
    const { heard: byServer, sent } = server
    const { heard: byClient } = client
    server.heard = (frame) => {
      if (frame.event === events.RegistReq.number) watched.flags = (decode(frame) as WireMessage<'RegistReq'>).flags
      return byServer(frame)
    }
    server.sent = (frame) => {
      sent(frame)
      this.#sent(watched, frame)
    }
    client.heard = (frame) => {
      const isList = frame.event === events.RegistListNtf.number || frame.event === events.ListAck.number
      if (isList && !client.over) this.#listed(watched, decode(frame) as WireMessage<'RegistListNtf' | 'ListAck'>)
      return byClient(frame)
    }
  }

  #watchSession(link: Link): void {
    const { heard, sent } = link.server
    let session = ''
    link.server.heard = (frame) => {
      if (frame.event === events.HelloReq.number) session = hex((decode(frame) as WireMessage<'HelloReq'>).session)
      return heard(frame)
    }
    link.server.sent = (frame) => {
      sent(frame)
      if (frame.event !== events.HelloAck.number) return
      const former = this.#links.get(session)
      this.#links.set(session, link)
      if (!former || former === link) return
      const text = `two links of a session of ${link.clientProcess.name} are open`
      this.#compare([former, link], text, () => isOpen(former) && isOpen(link))
    }
  }

  #sent(watched: Watched, frame: Frame): void {
    if (frame.event === events.DeliverMsgReq.number) {
      const { messages } = decode(frame) as WireMessage<'DeliverMsgReq'>
      for (const { mailboxSeq } of messages) this.delivered(watched.recipient, mailboxSeq)
    }
    if (frame.event !== events.RegistAck.number) return
    const links = this.#listening.get(watched.recipient) ?? new Set()
    this.#listening.set(watched.recipient, links)
    watched.isListening = (watched.flags & registFlags.listening) !== 0
    if (!watched.isListening) {
      links.delete(watched)
      return
    }
    links.add(watched)
    for (const other of links) {
      if (!isListening(other)) links.delete(other)
      else if (other !== watched) {
        const text = `two links of ${watched.recipient} are registered`
        this.#compare([watched.link, other.link], text, () => isListening(watched) && isListening(other))
      }
    }
  }

  /** Fails with this text if `isSo` remains true while the servers of both links reach the store; they have done so since `sinceMs`. */
  #compare(links: readonly Link[], text: string, isSo: () => boolean, sinceMs = this.#parts.machine.time.now()): void {
    const { machine, paths, trace } = this.#parts
    const now = machine.time.now()
    if (!isSo()) return
    const servers = links.map(({ serverProcess }) => serverProcess)
    const reach = servers.every((server) => this.#reaches(server))
    if (reach && now - sinceMs > pollMs + mostSteps * paths.delayMs) {
      trace.fail(`${text} at ${servers.map(({ name }) => name).join(' and ')}`)
      return
    }
    machine.time.alarm(now + compareMs, () => this.#compare(links, text, isSo, reach ? sinceMs : now + compareMs))
  }

  #reaches(server: SimulatedProcess): boolean {
    const { machine, paths } = this.#parts
    const now = machine.time.now()
    const isLate = now < (paths.lostMs.get(server) ?? -reconnectMs) + reconnectMs
    // A step that began while the store was slow ends later.
    const isSlow = now < paths.slowUntilMs + slowMs
    return !server.frozen && !isLate && !isSlow && !paths.isBroken(server)
  }

  #listed(watched: Watched, { listVersion, kind, members }: WireMessage<'RegistListNtf' | 'ListAck'>): void {
    const { version } = watched
    const fail = (what: string) =>
      this.#parts.trace.fail(`the list of ${watched.link.clientProcess.name} ${what} at version ${listVersion}`)
    watched.version = listVersion
    if (kind === rosterKind.whole) {
      if (version !== undefined && listVersion < version) fail(`goes back from version ${version}`)
      watched.list = new Map(members.map(({ node, userName }) => [node, userName]))
      if (new Set(watched.list.values()).size < members.length) fail('has a user twice')
      return
    }
    if (version !== listVersion - members.length) fail(`has changes after version ${version}`)
    for (const member of members) if (!change(watched.list, member)) fail(`gets a wrong change of ${member.userName}`)
  }
}

/** Applies a change of a presence list. Returns whether it is possible. */
function change(list: Map<number, string>, { change: kind, node, userName }: RosterEntry): boolean {
  if (kind === rosterChange.gone) return list.get(node) === userName && list.delete(node)
  const isNew = !list.has(node) && !Array.from(list.values()).includes(userName)
  list.set(node, userName)
  return isNew
}

type RosterEntry = WireMessage<'ListAck'>['members'][number]

const isOpen = ({ serverProcess, server }: Link) => serverProcess.alive && !server.over && !server.severed

const isListening = (watched: Watched) => watched.isListening && isOpen(watched.link)
