import { basename } from 'node:path'
import type { Readable } from 'node:stream'
import { checkFileName, OspError } from 'ospd'
import { absolutePath, spool } from 'ospd/node'
import { UsageError } from '../common/usage.ts'
import { linesOf, openList } from './lines.ts'
import type { SendValues } from './settings.ts'
import { type Found, find, sameName } from './walk.ts'

/** What decides which files are to be sent. */
export type CandidateValues = Pick<SendValues, 'recursive' | 'as'> & Partial<Pick<SendValues, 'files-from'>>

/** What a command was asked to send. */
export interface Candidates extends AsyncIterable<Found> {
  /** Where names, or what is to be sent, come from while others are sent. */
  readonly input: Readable | undefined
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
  const { recursive, as, 'files-from': from } = values
  if (as !== undefined && (files.length !== 1 || from !== undefined)) throw new UsageError('--as is for one FILE alone')
  const stdin = files.includes('-')
  if (stdin && as === undefined) throw new UsageError('give what is read from stdin a name on the server by --as')
  const names = new Names()
  const named = files.map((path) => ({ path, name: serverName(path, as) }))
  for (const { path, name } of named) {
    const other = names.take(name, path)
    if (other !== undefined) {
      throw new UsageError(
        `${other} and ${path} would both be ${JSON.stringify(name)} on the server; send one with --as`,
      )
    }
  }
  const list = from === undefined ? undefined : await openList(from)
  return {
    input: stdin ? process.stdin : list,
    async *[Symbol.asyncIterator]() {
      for (const { path, name } of named) {
        if (path === '-') yield await spooled(directory, name)
        else yield* find(path, name, recursive)
      }
      for await (const path of list ? linesOf(list) : []) {
        const name = serverName(path)
        const other = names.take(name, path)
        if (other === undefined) yield* find(path, name, recursive)
        else yield { path, failure: sameName(other, name) }
      }
    },
  }
}

async function spooled(directory: string, name: string): Promise<Found> {
  const path = '-'
  try {
    const spooled = await spool(directory, process.stdin, name)
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
