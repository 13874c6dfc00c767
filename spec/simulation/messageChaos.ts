import { fixed } from '../../lib/limits.ts'
import type { Happening } from './chaos.ts'
import type { MessageActor } from './messageActor.ts'
import type { MessageRun } from './messageRun.ts'
import { Post } from './post.ts'
import type { World } from './world.ts'

/** What may happen to those who send messages, and to where messages are kept. */
export const messageHappenings: readonly Happening[] = [
  { name: 'a message is sent', weight: 14, happen: (world) => send(world, 1) },
  { name: 'many messages are sent', weight: 8, happen: (world) => send(world, 8) },
  { name: 'all programs send', weight: 4, happen: sendFromAll },
  { name: 'a message is sent again', weight: 4, happen: sendAgain },
  { name: 'an id is used again', weight: 2, happen: reuse },
  { name: 'a message is given up', weight: 2, happen: giveUp },
  { name: 'a program stops receiving', weight: 4, happen: hush },
  { name: 'a program receives', weight: 6, happen: receive },
  { name: 'a program takes over', weight: 5, happen: takeOver },
  { name: 'a program ends', weight: 3, happen: end },
  { name: 'a flush fails', weight: 1.5, toDisk: true, happen: (world) => world.server.failFlush() },
  { name: 'bits of a journal flip', weight: 2, toDisk: true, happen: rot },
]

/** Longest contents, in bytes: most are short. */
const contents = [0, 10, 10, 100, 300]

function send(world: World, most: number): boolean {
  return withProgram(world, sending, (program) => {
    const count = world.dice.integer(1, most, 'messages at once')
    for (let n = 0; n < count; n++) post(world, program)
  })
}

function sendFromAll(world: World): boolean {
  for (const program of world.mail.programs) if (sending(program)) post(world, program)
  return true
}

/** With the same id: it is stored once. */
function sendAgain(world: World): boolean {
  return withPost(
    world,
    ({ outcome, givenUp }) => !givenUp && (outcome === 'acknowledged' || outcome === 'open'),
    (_, run, post) => run.send(post),
  )
}

/** What was acknowledged is known by its id, so that another message of this id is refused. */
function reuse(world: World): boolean {
  return withPost(
    world,
    ({ outcome }) => outcome === 'acknowledged',
    (program, _, { id }) => post(world, program, id),
  )
}

function giveUp(world: World): boolean {
  return withPost(
    world,
    ({ outcome, givenUp }) => outcome === 'open' && !givenUp,
    (_, run, post) => {
      if (run.isRepeating(post)) return
      world.tell(`${run.process.name} gives ${post.name} up`)
      post.givenUp = true
      post.giveUp?.abort()
    },
  )
}

function hush(world: World): boolean {
  return withProgram(
    world,
    ({ run }) => run?.receiving === true,
    ({ run }) => run?.hush(),
  )
}

function receive(world: World): boolean {
  return withProgram(
    world,
    ({ run }) => run?.receiving === false && !run.superseded && !run.over,
    ({ run }) => run?.receive(),
  )
}

/** A program that does not listen now starts anew and does. */
function takeOver(world: World): boolean {
  return withProgram(
    world,
    ({ user, run }) =>
      !run?.receiving && world.mail.programs.some((other) => other.user === user && other.run?.receiving),
    (program) => {
      program.kill()
      program.start()
      program.run?.receive()
    },
  )
}

function end(world: World): boolean {
  return withProgram(
    world,
    ({ running }) => running,
    (program) => program.end(),
  )
}

/** Of a message that was stored: it is lost, and whoever reads it says so. */
function rot(world: World): boolean {
  const key = world.disk.rot.flipMessage(world.disk.journal, world.dice)
  if (key !== undefined) world.tell(`a bit of the message ${key} flips`)
  return key !== undefined
}

const sending = ({ running, sends }: MessageActor) => running && sends

function withProgram(
  world: World,
  fits: (program: MessageActor) => boolean,
  act: (program: MessageActor) => void,
): boolean {
  const fitting = world.mail.programs.filter(
    (program) => !program.isLate && !program.run?.process.frozen && fits(program),
  )
  if (fitting.length === 0) return false
  act(world.dice.pick(fitting, 'a program'))
  return true
}

/** A message of a program that runs. */
function withPost(
  world: World,
  fits: (post: Post) => boolean,
  act: (program: MessageActor, run: MessageRun, post: Post) => void,
): boolean {
  const posts = [...world.mail.invariants.posts].filter(fits)
  const fitting = posts.flatMap((post) =>
    world.mail.programs.flatMap((program) =>
      program.name === post.program && program.run?.process.frozen === false
        ? [[program, program.run, post] as const]
        : [],
    ),
  )
  if (fitting.length === 0) return false
  act(...world.dice.pick(fitting, 'a message'))
  return true
}

/** A program sends a new message; with an id that was used before if one is given. */
function post(world: World, program: MessageActor, used?: Uint8Array): void {
  const { mail, dice: random } = world
  const number = ++program.posts
  const isPoison = mail.poison > 0 && !used && random.chance(0.1, 'handlers always throw at a message')
  if (isPoison) mail.poison--
  const text = `${program.name}#${number} `
  const kind = used ? 1 : random.fraction('kind of a message')
  const length = text.length + random.integer(0, random.pick(contents, 'most of a content'), 'length of a content')
  const message = new Post({
    id: used ?? idOf(++mail.ids),
    sender: program.user,
    program: program.name,
    number,
    to: kind < 0.02 ? ['ann', 'x/y'] : recipients(world, kind < 0.05),
    content: kind > 0.05 && kind < 0.07 ? new Uint8Array(fixed.messageBytes + 1) : contentOf(text, length),
    forged: used !== undefined,
    poison: isPoison,
  })
  mail.invariants.added(message)
  program.send(message)
}

/** Some users, oneself perhaps, somebody twice, or somebody who never comes. */
function recipients(world: World, tooMany: boolean): readonly string[] {
  const { mail, limits, dice: random } = world
  if (tooMany) return Array.from({ length: limits.recipients + 1 }, (_, at) => `nobody-${at}`)
  const count = random.integer(1, random.pick([1, 1, mail.users.length], 'most recipients'), 'recipients')
  const named = Array.from({ length: count }, () => random.pick(mail.users, 'a recipient'))
  return random.chance(0.05, 'nobody gets it too') ? [...named, 'nobody'] : named
}

function idOf(number: number): Uint8Array {
  const id = new Uint8Array(16)
  new DataView(id.buffer).setUint32(12, number)
  return id
}

function contentOf(text: string, length: number): Uint8Array {
  return new TextEncoder().encode(text.padEnd(length, '.'))
}
