import { basename } from 'node:path'
import { checkFileName, OspError } from 'ospd'
import { absolutePath, spool } from 'ospd/node'
import { type Input, readInput } from '../common/input.ts'
import { shown, UsageError } from '../common/usage.ts'
import { namesIn, openList } from './lines.ts'
import type { SendValues } from './settings.ts'
import { type Found, find, sameName } from './walk.ts'

/** What decides which files are to be sent. */
export type CandidateValues = Pick<SendValues, 'recursive' | 'as'> & Partial<Pick<SendValues, 'files-from' | 'from0'>>

/** What a command was asked to send. */
export interface Candidates extends AsyncIterable<Found> {
  /** The stream of names or content that is still being read while files are sent. */
  readonly input: Input | undefined
}

/**
 * The files that are to be sent, found as they are asked for; stdin, as `-`, is spooled to the state directory then. Throws
 * UsageError where the command as a whole is wrong, as by two FILEs of one name.
 */
export async function candidatesOf(
  values: CandidateValues,
  files: readonly string[],
  directory: string,
): Promise<Candidates> {
  const { recursive, as, 'files-from': from, from0 = false } = values
  if (as !== undefined && (files.length !== 1 || from !== undefined)) throw new UsageError('--as is for one FILE alone')
  if (from0 && from === undefined) throw new UsageError('--from0 requires --files-from; give both')
  const stdin = files.includes('-') ? readInput() : undefined
  if (stdin && as === undefined) throw new UsageError('give what is read from stdin a name on the server by --as')
  const names = new Names()
  const named = files.map((path) => ({ path, name: serverName(path, as) }))
  for (const { path, name } of named) {
    const other = names.take(name, path)
    if (other !== undefined && absolutePath(other) === absolutePath(path)) {
      throw new UsageError(`${shown(path)} is named twice; name it once`)
    }
    if (other !== undefined) {
      throw new UsageError(
        `${other} and ${path} would both be ${JSON.stringify(name)} on the server; send one with --as`,
      )
    }
  }
  const list = from === undefined ? undefined : await openList(from)
  return {
    input: stdin ?? list,
    async *[Symbol.asyncIterator]() {
      for (const { path, name } of named) {
        if (path === '-' && stdin) yield await spooled(directory, stdin, name)
        else yield* find(path, name, recursive)
      }
      if (list) yield* listed(`--files-from ${from}`, namesIn(list, from0), names, recursive)
    },
  }
}

/** Yields the files that a list names. A list that cannot be read further yields a failure under the name `list`. */
async function* listed(
  list: string,
  paths: AsyncIterable<string>,
  names: Names,
  recursive: boolean,
): AsyncGenerator<Found> {
  try {
    for await (const path of paths) {
      const name = serverName(path)
      const other = names.take(name, path)
      if (other === undefined) yield* find(path, name, recursive)
      else yield { path, failure: sameName(path, other) }
    }
  } catch (error) {
    yield { path: list, failure: OspError.from(error) }
  }
}

async function spooled(directory: string, stdin: Input, name: string): Promise<Found> {
  const path = '-'
  try {
    const spooled = await spool(directory, stdin, name)
    return { path, name, size: spooled.size, spooled }
  } catch (error) {
    return { path, failure: OspError.from(error) }
  }
}

function serverName(path: string, as?: string): string {
  if (as === undefined) return basename(absolutePath(path)).normalize('NFC')
  try {
    return checkFileName(as.normalize('NFC'))
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

/** Names on the server, and which path has taken each. */
class Names {
  readonly #taken = new Map<string, string>()

  /** Takes the name; returns the path that has it already, if one does. */
  take(name: string, path: string): string | undefined {
    const other = this.#taken.get(name)
    if (other === undefined) this.#taken.set(name, path)
    return other
  }
}
