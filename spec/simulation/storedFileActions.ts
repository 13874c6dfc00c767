import type { Action } from './action.ts'
import type { ClientActor } from './clientActor.ts'
import type { FileParts } from './fileActions.ts'
import type { StoredFiles } from './storedFiles.ts'

/** The parts of a world that these actions use. */
export interface StoredFileParts extends FileParts {
  readonly stored: StoredFiles
}

/** Actions of clients that use stored files. */
export const storedFileActions: readonly Action<StoredFileParts>[] = [
  {
    name: 'a stored file is downloaded',
    weight: 8,
    apply: withFile((parts, ...file) => parts.stored.download(...file)),
  },
  { name: 'a stored file is read', weight: 4, apply: withFile(read) },
  { name: 'stored files are listed', weight: 4, apply: withFile(list) },
  { name: 'a stored file is described', weight: 3, apply: withFile(stat) },
  { name: 'a stored file is removed', weight: 4, apply: withFile(remove) },
  { name: 'a stored file is renamed', weight: 4, apply: withFile(rename) },
]

/** The names that files get besides those of their sources. */
const otherNames = ['moved-1', 'moved-2']

function withFile(act: (parts: StoredFileParts, client: ClientActor, name: string) => void) {
  return (parts: StoredFileParts): boolean => {
    const fitting = parts.clients.filter(({ process }) => process?.frozen === false)
    if (fitting.length === 0) return false
    const client = parts.dice.pick(fitting, 'a client')
    const names = parts.stored.namesOf(client.user)
    act(parts, client, parts.dice.pick([...names, ...names, anyNameOf(parts, client)], 'a stored file'))
    return true
  }
}

/** Returns a name that may not be that of a stored file. */
function anyNameOf({ dice, files }: StoredFileParts, { user }: ClientActor): string {
  const own = files.filter((file) => file.user === user).map(({ name }) => name)
  return dice.pick([...own, ...otherNames], 'a name')
}

function read({ dice, stored, limits }: StoredFileParts, client: ClientActor, name: string): void {
  const offset = dice.pick([0, 0, 1, limits.chunkBytes], 'where a file is read')
  stored.read(client, name, offset, dice.pick([Number.POSITIVE_INFINITY, 1], 'after how many bytes reading ends'))
}

function list({ dice, stored }: StoredFileParts, client: ClientActor, name: string): void {
  stored.list(client, dice.pick(['', name.slice(0, 2)], 'a prefix'))
}

function stat({ dice, stored }: StoredFileParts, client: ClientActor, name: string): void {
  stored.stat(client, name, dice.chance(0.5, 'the digest is needed'))
}

function remove({ dice, stored }: StoredFileParts, client: ClientActor, name: string): void {
  stored.remove(client, name, dice.chance(0.5, 'a version is named'))
}

function rename(parts: StoredFileParts, client: ClientActor, name: string): void {
  const { dice, stored } = parts
  stored.rename(client, name, anyNameOf(parts, client), dice.chance(0.5, 'a file is replaced'))
}
