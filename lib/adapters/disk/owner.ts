import { constants } from 'node:fs'
import { readFile, rename, rm } from 'node:fs/promises'
import { z } from 'zod'
import { OspError } from '../../errors.ts'
import { attempt, fault, isFull } from './faults.ts'
import type { Layout } from './layout.ts'
import { makeOwnFile } from './ownFile.ts'

const owner = z.object({ pid: z.int(), startedAt: z.string() })

/** Records that this process has the directory open. The file informs people; it is not a lock. */
export async function writeOwner({ owner: path }: Layout, wallTime: number): Promise<void> {
  const text = JSON.stringify({ pid: process.pid, startedAt: new Date(wallTime).toISOString() })
  try {
    const handle = await makeOwnFile(`${path}.new`, constants.O_WRONLY)
    try {
      await handle.writeFile(`${text}\n`)
    } finally {
      await handle.close()
    }
    await rename(`${path}.new`, path)
  } catch (error) {
    // A full disk must not prevent reading the directory.
    if (!isFull(error)) throw fault(error, `writing ${path}`)
  }
}

export async function removeOwner({ owner: path }: Layout): Promise<void> {
  await attempt(`removing ${path}`, () => rm(path, { force: true }))
}

/** The error of a directory that another process has open, naming that process as far as it is known. */
export async function lockedBy({ directory, owner: path }: Layout, cause: unknown): Promise<OspError> {
  const text = await readFile(path, 'utf8').catch(() => '')
  const known = owner.safeParse(jsonOf(text)).data
  const who = known ? `process ${known.pid}, since ${known.startedAt}` : 'another process'
  return new OspError('data-locked', `${directory} is in use by ${who}; stop it or name another directory`, { cause })
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // The owner is still writing it, or never came to.
    return undefined
  }
}
