import type { SeededRandom } from '../support/random.ts'
import type { Action } from './action.ts'
import type { ClientActor } from './clientActor.ts'
import { type FileParts, sendNewer } from './fileActions.ts'
import { notified } from './fileNotices.ts'
import type { Mail } from './mail.ts'
import type { StoredFiles } from './storedFiles.ts'

/** The parts of a world that these actions use. */
export interface StoredFileParts extends FileParts {
  readonly stored: StoredFiles
  readonly mail: Mail
  /** Whether the actions have ended. */
  readonly healed: boolean
}

/** Actions of clients that use stored files. */
export const storedFileActions: readonly Action<StoredFileParts>[] = [
  {
    name: 'a stored file is downloaded',
    weight: 8,
    apply: withFile(({ stored }, client, name) => stored.download(client, name)),
  },
  { name: 'a stored file is read', weight: 4, apply: withFile(read) },
  { name: 'stored files are listed', weight: 4, apply: withFile(list) },
  { name: 'a stored file is described', weight: 3, apply: withFile(stat) },
  { name: 'a stored file is removed', weight: 4, apply: withFile(remove) },
  { name: 'a stored file is renamed', weight: 4, apply: withFile(rename) },
  { name: 'messages about files wait', weight: 5, apply: letMessagesWait },
]

/** The names that files get besides those of their sources. */
const otherNames = ['moved-1', 'moved-2']

type FileAction = (parts: StoredFileParts, client: ClientActor, name: string, dice: SeededRandom) => void

function withFile(act: FileAction) {
  return (parts: StoredFileParts, dice = parts.dice): boolean => {
    const fitting = parts.clients.filter(({ process }) => process?.frozen === false)
    if (fitting.length === 0) return false
    const client = dice.pick(fitting, 'a client')
    const names = parts.stored.namesOf(client.user)
    act(parts, client, dice.pick([...names, ...names, anyNameOf(parts, client, dice)], 'a stored file'), dice)
    return true
  }
}

/**
 * For a while, no program handles messages about files. Meanwhile programs send newer versions of all files, and remove and rename
 * stored ones.
 */
function letMessagesWait(parts: StoredFileParts): boolean {
  const { stored, mail, machine, dice } = parts
  if (!stored.notices.isOn) return false
  const { time } = machine
  const ms = dice.pick([1_000, 5_000, 20_000], 'time without a handler')
  const later = (part: number, act: () => unknown) => time.alarm(time.now() + part * ms, () => !parts.healed && act())
  for (const program of mail.programs) {
    const { run } = program
    if (program.user !== notified || !run?.receiving || run.process.frozen) continue
    run.hush()
    later(1, () => program.run === run && run.receive())
  }
  for (const part of [0, 0.3]) later(part, () => sendNewer(parts, dice))
  const change = withFile(dice.chance(0.5, 'files are removed') ? remove : rename)
  for (const part of [0.2, 0.5, 0.7]) later(part, () => change(parts, dice))
  return true
}

/** Returns a name that may not be that of a stored file. */
function anyNameOf({ files }: StoredFileParts, { user }: ClientActor, dice: SeededRandom): string {
  const own = files.filter((file) => file.user === user).map(({ name }) => name)
  return dice.pick([...own, ...otherNames], 'a name')
}

function read({ stored, limits }: StoredFileParts, client: ClientActor, name: string, dice: SeededRandom): void {
  const offset = dice.pick([0, 0, 1, limits.chunkBytes], 'where a file is read')
  stored.read(client, name, offset, dice.pick([Number.POSITIVE_INFINITY, 1], 'after how many bytes reading ends'))
}

function list({ stored }: StoredFileParts, client: ClientActor, name: string, dice: SeededRandom): void {
  stored.list(client, dice.pick(['', name.slice(0, 2)], 'a prefix'))
}

function stat({ stored }: StoredFileParts, client: ClientActor, name: string, dice: SeededRandom): void {
  stored.stat(client, name, dice.chance(0.5, 'the digest is needed'))
}

function remove({ stored }: StoredFileParts, client: ClientActor, name: string, dice: SeededRandom): void {
  stored.remove(client, name, dice.chance(0.5, 'a version is named'))
}

function rename(parts: StoredFileParts, client: ClientActor, name: string, dice: SeededRandom): void {
  const newName = anyNameOf(parts, client, dice)
  parts.stored.rename(client, name, newName, dice.chance(0.5, 'a file is replaced'))
}
