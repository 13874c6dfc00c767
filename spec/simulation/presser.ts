import { clientLimits, fixed } from '../../lib/limits.ts'
import type { Message, RequestName } from '../../lib/wire/message.ts'
import { Visit } from './visit.ts'
import type { World } from './world.ts'

/** More links than this do not come at once: worlds with room for more are not pressed by that. */
const mostLinks = 60

/** Within so long after everything has healed somebody comes again. */
const calmMs = 2_000

const unreadPings = 1_800
/** They come in parts, so that what waits for a link grows step by step and is seen below its bound. */
const pingsAtOnce = 25

/** A way to bring queues to their bounds, by somebody who keeps to none of his own. */
interface Press {
  readonly name: string
  /** How often it comes, compared with the others. */
  readonly weight: number
  /** It comes once more when everything has healed. */
  readonly again: boolean
  readonly press: (visit: Visit) => void
}

const presses: readonly Press[] = [
  { name: 'somebody does not read', weight: 6, again: true, press: notReading },
  { name: 'somebody asks without end', weight: 3, again: true, press: asking },
  { name: 'somebody asks for much', weight: 3, again: true, press: askingMuch },
  { name: 'many links come', weight: 4, again: true, press: crowding },
  { name: 'many messages are sent at once', weight: 1, again: false, press: sending },
  { name: 'many bytes are sent at once', weight: 1, again: false, press: sendingMuch },
]

/** Draws who comes to press, and when: once until `endMs`, and once when everything has healed. What else happens is drawn from other randomness. */
export function drawPress(world: World, endMs: number): void {
  const dice = world.machine.random.fork('presses')
  const press = dice.pick(
    presses.flatMap((press) => Array.from({ length: press.weight }, () => press)),
    'who presses',
  )
  if (!world.troubles.comes(press.name, 1)) return
  comeAt(dice.fraction('time until somebody presses') * endMs, world, press)
  if (press.again) comeAt(endMs + dice.fraction('time until somebody presses again') * calmMs, world, press)
}

function comeAt(ms: number, world: World, { name, press }: Press): void {
  world.machine.time.alarm(ms, () => {
    world.tell(name)
    press(new Visit(world, `${name} ${world.visitors.size + 1}`))
  })
}

/** One who asks, and reads no answer: more than a socket takes and the narrow bounds allow. */
function notReading(visit: Visit): void {
  visit.dial(1, (link, pause) => {
    pause()
    for (let part = 0; part * pingsAtOnce < unreadPings; part++) {
      visit.process.within(part, () => link.ask({ event: 'PingReq' }, pingsAtOnce))
    }
  })
}

/** One who reads the answers, of which there are more than are remembered. */
function asking(visit: Visit): void {
  const nonsense: Message<RequestName> = { event: 'CancelFileReq', fileName: '..' }
  visit.dial(1, (link) => link.ask(nonsense, fixed.replies + 100))
}

/** One who asks faster than the disk can answer: all is about one file, so that each request waits for those before it. */
function askingMuch(visit: Visit): void {
  visit.dial(1, (link) => link.ask({ event: 'CancelFileReq', fileName: 'nothing' }, fixed.replies + 100))
}

/** More links than the server takes, some of which say HELLO and some nothing. */
function crowding(visit: Visit): void {
  const { links, pendingLinks, refusedLinks } = visit.world.limits
  if (Math.min(links, pendingLinks) > mostLinks) visit.leave()
  if (links <= mostLinks) visit.dial(links + 5, () => {})
  if (pendingLinks <= mostLinks) visit.dial(pendingLinks + Math.min(refusedLinks, mostLinks) + 5)
}

/** A program that sends more messages than may wait. */
function sending(visit: Visit): void {
  visit.send(clientLimits.sends + 10, 1)
}

/** … or more bytes. */
function sendingMuch(visit: Visit): void {
  visit.send(clientLimits.sendBytes / fixed.messageBytes + 10, fixed.messageBytes)
}
