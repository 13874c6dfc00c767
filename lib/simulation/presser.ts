import { clientLimits, fixed, MiB } from '../limits.ts'
import type { Message, RequestName } from '../wire/message.ts'
import type { SeededRandom } from './random.ts'
import { Visit } from './visit.ts'
import type { World } from './world.ts'

/** More links than this do not come at once: worlds with room for more are not pressed by that. */
const mostLinks = 60

/** A way to bring queues to their bounds, by somebody who keeps to none of his own. */
interface Press {
  readonly name: string
  /** How often it comes to a world. */
  readonly chance: number
  readonly press: (visit: Visit, dice: SeededRandom) => void
}

const presses: readonly Press[] = [
  { name: 'somebody does not read', chance: 0.4, press: notReading },
  { name: 'somebody asks without end', chance: 0.2, press: asking },
  { name: 'somebody asks for much', chance: 0.3, press: askingMuch },
  { name: 'many links come', chance: 0.3, press: crowding },
  { name: 'many messages are sent at once', chance: 0.05, press: sending },
  { name: 'many bytes are sent at once', chance: 0.04, press: sendingMuch },
]

/** Draws who comes to press, and when until `endMs`. What else happens is drawn from other randomness. */
export function pressAll(world: World, endMs: number): void {
  const { time, random } = world.machine
  for (const { name, chance, press } of presses) {
    if (!world.troubles.comes(name, chance)) continue
    const dice = random.fork(name)
    const atMs = dice.fraction('time until somebody presses') * endMs
    time.alarm(atMs, () => {
      world.tell(name)
      press(new Visit(world, name), dice)
    })
  }
}

/** One who asks and reads no answer; where many bytes may be unsent, sometimes so much that the number of answers is too large. */
function notReading(visit: Visit, dice: SeededRandom): void {
  const isFlood = visit.world.limits.unsentBytes >= MiB && dice.chance(0.4, 'a flood of replies')
  const pings = isFlood ? fixed.unsentReplies + 4_000 : 2_500
  visit.dial(1, (link, pause) => {
    pause()
    link.ask({ event: 'PingReq' }, pings)
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

/** More links than the server takes, all of which say nothing. */
function crowding(visit: Visit): void {
  const { links, refusedLinks } = visit.world.limits
  if (links <= mostLinks) visit.dial(links + Math.min(refusedLinks, mostLinks) + 5)
  else visit.leave()
}

/** A program that sends more messages than may wait. */
function sending(visit: Visit): void {
  visit.send(clientLimits.sends + 10, 1)
}

/** … or more bytes. */
function sendingMuch(visit: Visit): void {
  visit.send(clientLimits.sendBytes / fixed.messageBytes + 10, fixed.messageBytes)
}
