import { clientLimits, fixed } from '../../lib/limits.ts'
import type { RequestName, WireMessage } from '../../lib/wire/message.ts'
import type { Faults } from './faults.ts'
import { Visit, type VisitParts } from './visit.ts'

/** The parts of a world that a load generator uses. */
interface LoadParts extends VisitParts {
  readonly faults: Faults
}

/** Load that needs more links than this is not generated: such limits are too high to be reached. */
const mostLinks = 60

/** Maximum time between the end of all faults and the second load. */
const calmMs = 2_000

const unreadPings = 1_800
/** Pings are sent in parts, so that the waiting bytes of a link grow in steps and are observed below their bound. */
const pingsAtOnce = 25

/** A way to fill queues up to their bounds. */
interface Load {
  readonly name: string
  /** Relative frequency. */
  readonly weight: number
  /** Whether it is repeated after all faults have stopped. */
  readonly again: boolean
  readonly generate: (visit: Visit, parts: LoadParts) => void
}

const loads: readonly Load[] = [
  { name: 'a client does not read', weight: 6, again: true, generate: withoutReading },
  { name: 'a client sends endless requests', weight: 3, again: true, generate: manyRequests },
  { name: 'a client sends expensive requests', weight: 3, again: true, generate: expensiveRequests },
  { name: 'many links are opened', weight: 4, again: true, generate: manyLinks },
  { name: 'many messages are sent at once', weight: 1, again: false, generate: manyMessages },
  { name: 'many bytes are sent at once', weight: 1, again: false, generate: manyBytes },
]

/**
 * Chooses a load and its time: once before `endMs`, and perhaps once after all faults have stopped. Uses separate
 * randomness, so that the rest of the world does not change.
 */
export function scheduleLoad(parts: LoadParts, endMs: number): void {
  const dice = parts.machine.random.fork('load')
  const load = dice.pick(
    loads.flatMap((load) => Array.from({ length: load.weight }, () => load)),
    'load',
  )
  if (!parts.faults.comes(load.name, 1)) return
  generateAt(dice.fraction('time until the load comes') * endMs, parts, load)
  if (load.again) generateAt(endMs + dice.fraction('time until the load comes again') * calmMs, parts, load)
}

function generateAt(ms: number, parts: LoadParts, { name, generate }: Load): void {
  parts.machine.time.alarm(ms, () => {
    parts.trace.tell(name)
    generate(new Visit(parts, `${name} ${parts.visitors.size + 1}`), parts)
  })
}

/** Sends requests and reads no reply: more than a socket accepts and the low limits allow. */
function withoutReading(visit: Visit): void {
  visit.dial(1, (link, pause) => {
    pause()
    for (let part = 0; part * pingsAtOnce < unreadPings; part++) {
      visit.process.within(part, () => link.ask({ event: 'PingReq' }, pingsAtOnce))
    }
  })
}

/** Reads the replies, of which there are more than the server remembers. */
function manyRequests(visit: Visit): void {
  const invalid: WireMessage<RequestName> = { event: 'CancelFileReq', fileName: '..' }
  visit.dial(1, (link) => link.ask(invalid, fixed.replies + 100))
}

/** Sends requests faster than the disk can serve them: all name one file, so each waits for the previous ones. */
function expensiveRequests(visit: Visit): void {
  visit.dial(1, (link) => link.ask({ event: 'CancelFileReq', fileName: 'nothing' }, fixed.replies + 100))
}

/** Opens more links than the server accepts; some send HELLO_REQ, others nothing. */
function manyLinks(visit: Visit, { limits }: LoadParts): void {
  const { links, pendingLinks, refusedLinks } = limits
  if (Math.min(links, pendingLinks) > mostLinks) visit.leave()
  if (links <= mostLinks) visit.dial(links + 5, () => {})
  if (pendingLinks <= mostLinks) visit.dial(pendingLinks + Math.min(refusedLinks, mostLinks) + 5)
}

/** Sends more messages than may wait. */
function manyMessages(visit: Visit): void {
  visit.send(clientLimits.sends + 10, 1)
}

/** Sends more bytes of messages than may wait. */
function manyBytes(visit: Visit): void {
  visit.send(clientLimits.sendBytes / fixed.messageBytes + 10, fixed.messageBytes)
}
