import type { Upload } from '../../lib/client/uploads/upload.ts'
import type { Limits } from '../../lib/limits.ts'
import type { SeededRandom } from '../support/random.ts'
import type { Action } from './action.ts'
import type { ClientActor } from './clientActor.ts'
import { generateBytes, type SimulatedFile, sentWhole } from './files.ts'
import type { Machine } from './process.ts'
import type { Trace } from './trace.ts'

/** The parts of a world that these actions use. */
export interface FileParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly limits: Limits
  readonly clients: readonly ClientActor[]
  readonly files: readonly SimulatedFile[]
  readonly dice: SeededRandom
}

/** The number of contents from which one with a wanted size is chosen. */
const contentTries = 4

/** Actions of clients that send files. */
export const fileActions: readonly Action<FileParts>[] = [
  { name: 'a file is sent', weight: 14, apply: sendFile },
  { name: 'a client sends all files', weight: 4, apply: sendAllFiles },
  { name: 'all clients send a file', weight: 4, apply: sendFileFromAll },
  { name: 'an upload is paused', weight: 5, apply: pause },
  { name: 'uploads are resumed', weight: 8, apply: resume },
  { name: 'all uploads of a client are paused', weight: 5, apply: pauseAll },
  { name: 'an upload is cancelled', weight: 1, apply: cancel },
  { name: 'another program changes a list of tasks', weight: 5, apply: editTasks },
  { name: 'a file is written to', weight: 4, apply: writeToFile },
  { name: 'a file keeps its size and its modification time', weight: 2, apply: rewriteFile },
  { name: 'an earlier version of a file returns', weight: 2, apply: restoreFile },
]

function sendFile(parts: FileParts): boolean {
  return withClient(parts, (client) => client.send(someFile(parts, client.user)))
}

/** Many of these files are being sent by other programs, from which they are taken over. */
function sendAllFiles(parts: FileParts): boolean {
  return withClient(parts, (client) => {
    for (const file of parts.files) if (file.user === client.user) client.send(file)
  })
}

/** All programs of a user send the file, so that they take it from each other. */
function sendFileFromAll(parts: FileParts): boolean {
  return withClient(parts, ({ user }) => {
    const file = someFile(parts, user)
    for (const client of parts.clients) if (client.user === user) client.send(file)
  })
}

function pause(parts: FileParts): boolean {
  return withUpload(
    parts,
    (phase) => phase !== 'paused',
    (client, upload) => client.pause(upload),
  )
}

/** Paused only for a moment: it continues before data in flight has arrived. */
function pauseAll(parts: FileParts): boolean {
  return withClient(parts, (client) => {
    const { dice, machine } = parts
    const { time } = machine
    client.pause()
    time.alarm(time.now() + dice.fraction('time of a pause') * 1_000, () => client.resume())
  })
}

function resume(parts: FileParts): boolean {
  return withUpload(
    parts,
    (phase) => phase === 'paused',
    (client) => client.resume(),
  )
}

function cancel(parts: FileParts): boolean {
  return withUpload(
    parts,
    () => true,
    (client, upload) => client.cancel(upload),
  )
}

/** Acts on the list of a program that does not run. */
function editTasks(parts: FileParts): boolean {
  const fitting = parts.clients.flatMap((client) => client.left.map((id) => [client, id] as const))
  if (fitting.length === 0) return false
  const [client, id] = parts.dice.pick(fitting, 'a task')
  client.editTasks(id, parts.dice.pick(['pause', 'resume', 'cancel'] as const, 'what is done with a task'))
  return true
}

function writeToFile(parts: FileParts): boolean {
  if (parts.files.length === 0) return false
  const file = parts.dice.pick(parts.files, 'a file to write to')
  parts.trace.tell(`${file.path} is written to`)
  file.write(generateBytes(parts.dice, parts.limits.chunkBytes))
  return true
}

/** Changes one byte of a file and resets its modification time. The identity of the source changes. */
function rewriteFile(parts: FileParts): boolean {
  const files = parts.files.filter(({ now }) => now.bytes.length > 0)
  if (files.length === 0) return false
  const file = parts.dice.pick(files, 'a file to write to')
  parts.trace.tell(`${file.path} is written to, and keeps its times`)
  const bytes = file.now.bytes.slice()
  const at = parts.dice.integer(0, bytes.length - 1, 'the byte that changes')
  bytes[at] = ((bytes[at] ?? 0) + 1) % 256
  file.write(bytes, true)
  return true
}

/** The programs of its user then send the file. They may remember its digest. */
function restoreFile(parts: FileParts): boolean {
  const files = parts.files.filter(({ versions }) => versions.length > 1)
  if (files.length === 0) return false
  const file = parts.dice.pick(files, 'a file that returns')
  const { bytes, modifiedAt } = file.now
  const earlier = file.versions.slice(0, -1)
  const like = earlier.filter((each) => each.modifiedAt === modifiedAt && each.bytes.length === bytes.length)
  parts.trace.tell(`an earlier version of ${file.path} returns`)
  file.restore(parts.dice.pick(like.length > 0 ? like : earlier, 'an earlier version'))
  for (const client of parts.clients)
    if (client.user === file.user && client.process?.frozen === false) client.send(file)
  return true
}

/** Writes to all files, which the programs of their users then send, all in one request each or all in chunks. */
export function sendNewer(parts: Omit<FileParts, 'machine'>, dice = parts.dice): void {
  const { trace, limits, files, clients } = parts
  const isSmall = dice.chance(0.5, 'the files fit in one request')
  for (const file of files) {
    trace.tell(`${file.path} is written to`)
    const contents = Array.from({ length: contentTries }, () => generateBytes(dice, limits.chunkBytes))
    const [first = new Uint8Array()] = contents
    file.write(contents.find((bytes) => sentWhole(bytes, limits.smallFileBytes) === isSmall) ?? first)
  }
  for (const client of clients) {
    if (client.process?.frozen !== false) continue
    for (const file of files) if (file.user === client.user) client.send(file)
  }
}

function someFile(parts: FileParts, user: string): SimulatedFile {
  const own = parts.files.filter((file) => file.user === user)
  return parts.dice.pick(own, 'a file')
}

function withClient(parts: FileParts, act: (client: ClientActor) => void): boolean {
  const fitting = parts.clients.filter(({ process }) => process?.frozen === false)
  if (fitting.length === 0) return false
  act(parts.dice.pick(fitting, 'a client'))
  return true
}

function withUpload(
  parts: FileParts,
  fits: (phase: Upload['phase']) => boolean,
  act: (client: ClientActor, upload: Upload) => void,
): boolean {
  const fitting = parts.clients.flatMap((client) =>
    client.open.filter(({ phase }) => phase !== 'cancelling' && fits(phase)).map((upload) => [client, upload] as const),
  )
  if (fitting.length === 0) return false
  act(...parts.dice.pick(fitting, 'an upload'))
  return true
}
