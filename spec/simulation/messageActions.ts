import { fixed, type Limits } from '../../lib/limits.ts'
import type { SeededRandom } from '../support/random.ts'
import type { Action } from './action.ts'
import type { SimulatedDisk } from './disk.ts'
import type { Mail } from './mail.ts'
import type { MessageActor } from './messageActor.ts'
import type { MessageRun } from './messageRun.ts'
import { Post } from './post.ts'
import type { ServerActor } from './serverActor.ts'
import type { Trace } from './trace.ts'

/** The parts of a world that the actions of programs use. */
export interface ProgramParts {
  readonly trace: Trace
  readonly limits: Limits
  readonly mail: Mail
  readonly dice: SeededRandom
}

/** The parts of a world that these actions use. */
export interface MessageParts extends ProgramParts {
  readonly disk: SimulatedDisk
  readonly server: ServerActor
}

/** Actions of programs that send and receive messages. */
export const programActions: readonly Action<ProgramParts>[] = [
  { name: 'a message is sent', weight: 14, apply: (parts) => send(parts, 1) },
  { name: 'many messages are sent', weight: 8, apply: (parts) => send(parts, 8) },
  { name: 'all programs send', weight: 4, apply: sendFromAll },
  { name: 'a message is sent again', weight: 4, apply: sendAgain },
  { name: 'an id is used again', weight: 2, apply: reuse },
  { name: 'a call for a message is aborted', weight: 2, apply: abort },
  { name: 'a program stops receiving', weight: 4, apply: hush },
  { name: 'a program receives', weight: 6, apply: receive },
  { name: 'a program takes over', weight: 5, apply: takeOver },
  { name: 'a program ends', weight: 3, apply: end },
  { name: 'a device is removed', weight: 3, apply: removeDevice },
]

/** These actions, and those on the storage of messages. */
export const messageActions: readonly Action<MessageParts>[] = [
  ...programActions,
  { name: 'a flush fails', weight: 1.5, toDisk: true, apply: ({ server, dice }) => server.failFlush(dice) },
  { name: 'bits of a journal flip', weight: 2, toDisk: true, apply: rot },
]

/** Maximum length of contents in bytes; most are short. */
const contents = [0, 10, 10, 100, 300]

function send(parts: ProgramParts, most: number): boolean {
  return withProgram(parts, sending, (program) => {
    const count = parts.dice.integer(1, most, 'messages at once')
    for (let n = 0; n < count; n++) post(parts, program)
  })
}

export function sendFromAll(parts: ProgramParts): boolean {
  for (const program of parts.mail.programs) if (sending(program)) post(parts, program)
  return true
}

/** Sent again with the same id, it is stored once. */
function sendAgain(parts: ProgramParts): boolean {
  return withPost(
    parts,
    ({ outcome, isAborted }) => !isAborted && (outcome === 'acknowledged' || outcome === 'open'),
    (_, run, post) => run.send(post),
  )
}

/** An acknowledged message is known by its id, so another message with this id is refused. */
function reuse(parts: ProgramParts): boolean {
  return withPost(
    parts,
    ({ outcome }) => outcome === 'acknowledged',
    (program, _, { id }) => post(parts, program, id),
  )
}

function abort(parts: ProgramParts): boolean {
  return withPost(
    parts,
    ({ outcome, isAborted }) => outcome === 'open' && !isAborted,
    (_, run, post) => {
      if (run.isRepeating(post) || !run.isSending(post)) return
      parts.trace.tell(`${run.process.name} aborts ${post.name}`)
      post.isAborted = true
      post.aborting?.abort()
    },
  )
}

function hush(parts: ProgramParts): boolean {
  return withProgram(
    parts,
    ({ run }) => run?.receiving === true,
    ({ run }) => run?.hush(),
  )
}

function receive(parts: ProgramParts): boolean {
  return withProgram(
    parts,
    ({ run }) => run?.receiving === false && !run.superseded && !run.over,
    ({ run }) => run?.receive(),
  )
}

/** A program that does not listen restarts and listens. */
function takeOver(parts: ProgramParts): boolean {
  return withProgram(
    parts,
    ({ user, run }) =>
      !run?.receiving && parts.mail.programs.some((other) => other.user === user && other.run?.receiving),
    (program) => {
      program.kill()
      program.start()
      program.run?.receive()
    },
  )
}

/** The device may listen, or may have been removed before. */
function removeDevice(parts: ProgramParts): boolean {
  const devices = parts.mail.programs.flatMap(({ user, device }) => (device === undefined ? [] : { user, device }))
  if (devices.length === 0) return false
  const { user, device } = parts.dice.pick(devices, 'a device')
  return withProgram(
    parts,
    (program) => program.user === user && program.run !== undefined && !program.run.over,
    ({ run }) => run?.removeDevice(device),
  )
}

function end(parts: ProgramParts): boolean {
  return withProgram(
    parts,
    ({ running }) => running,
    (program) => program.end(),
  )
}

/** The flipped record is that of a stored message: the message is lost, and the reader reports it. */
function rot(parts: MessageParts): boolean {
  const key = parts.disk.rot.flipMessage(parts.disk.journal, parts.dice)
  if (key !== undefined) parts.trace.tell(`a bit of the message ${key} flips`)
  return key !== undefined
}

const sending = ({ running, sends }: MessageActor) => running && sends

function withProgram(
  parts: ProgramParts,
  fits: (program: MessageActor) => boolean,
  act: (program: MessageActor) => void,
): boolean {
  const fitting = parts.mail.programs.filter(
    (program) => !program.isLate && !program.run?.process.frozen && fits(program),
  )
  if (fitting.length === 0) return false
  act(parts.dice.pick(fitting, 'a program'))
  return true
}

/** Returns a message of a running program. */
function withPost(
  parts: ProgramParts,
  fits: (post: Post) => boolean,
  act: (program: MessageActor, run: MessageRun, post: Post) => void,
): boolean {
  const posts = [...parts.mail.invariants.posts].filter(fits)
  const fitting = posts.flatMap((post) =>
    parts.mail.programs.flatMap((program) =>
      program.name === post.program && program.run?.process.frozen === false
        ? [[program, program.run, post] as const]
        : [],
    ),
  )
  if (fitting.length === 0) return false
  act(...parts.dice.pick(fitting, 'a message'))
  return true
}

/** A program sends a new message, with an id that was used before if one is given. */
function post(parts: ProgramParts, program: MessageActor, used?: Uint8Array): void {
  const { mail, dice: random } = parts
  const number = ++program.posts
  const isPoison = mail.poison > 0 && !used && random.chance(0.1, 'handlers always throw at a message')
  if (isPoison) mail.poison--
  const text = `${program.name}#${number} `
  const kind = used ? 1 : random.fraction('kind of a message')
  const length = text.length + random.integer(0, random.pick(contents, 'most of a content'), 'length of a content')
  const isShortLived = !isPoison && random.chance(0.1, 'a message has a time to live')
  const asksReceipts = random.chance(mail.asking, 'a message asks for receipts')
  const message = new Post({
    asksReceipts,
    timeToLiveMs: isShortLived ? random.integer(1, 60_000, 'time to live of a message') : undefined,
    id: used ?? idOf(++mail.ids),
    sender: program.user,
    program: program.name,
    number,
    to: kind < 0.02 ? ['ann', 'x/y'] : recipients(parts, kind < 0.05),
    content: kind > 0.05 && kind < 0.07 ? new Uint8Array(fixed.messageBytes + 1) : contentOf(text, length),
    forged: used !== undefined,
    poison: isPoison,
  })
  mail.invariants.added(message)
  program.send(message)
}

/** Some users, possibly the sender, one user twice, or a user without a program. */
function recipients(parts: ProgramParts, tooMany: boolean): readonly string[] {
  const { mail, limits, dice: random } = parts
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
