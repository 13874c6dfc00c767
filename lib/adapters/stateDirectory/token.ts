import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { open, readdir, rename, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { OspError } from '../../errors.ts'
import { checkArgument, kinds } from '../../options.ts'
import type { BoundToken, TokenBinding } from '../../runtime/tokenBinding.ts'
import { makePath, syncDirectory } from '../disk/directories.ts'
import { attempt, unless } from '../disk/faults.ts'
import { checkDirectoryRights, openTrusted } from '../disk/rights.ts'
import { checkToken, textOf, tokenIn } from './tokenText.ts'

/** The token that a state directory has of its user at its server. */
export interface KeptToken {
  /**
   * The token, or `undefined` if none is kept; one of a former version is bound to `unrecorded`. Rejects with OspError `usage`
   * if others can read the file, or it holds no token; with `data-format` if another user could change or replace it; with
   * `internal` if it cannot be read.
   */
  load(): Promise<BoundToken | undefined>
  /**
   * Keeps it in the place of any other, with the connections that it may be sent over (`bindingOf` that of its login):
   * durable, whole or not at all. Rejects with OspError `usage` for what is no token.
   */
  keep(token: string, boundTo?: TokenBinding): Promise<void>
  /** Removes it: durable. Resolves with whether there was one. */
  forget(): Promise<boolean>
}

const name = 'token'

/** What a program that was killed has left of keeping one. */
const left = /^token\.[0-9a-f]{16}\.new$/u

/** The token in a state directory, in a file that its owner alone can read; the directory is made when one is kept. */
export function keptToken(directory: string): KeptToken {
  checkArgument('keptToken', 'the directory', kinds.path, directory)
  const folder = resolve(directory)
  const path = join(folder, name)
  return {
    load: () => load(path),
    async keep(token, boundTo = 'unrecorded') {
      const text = textOf({ token: checkToken(token, 'the token'), boundTo })
      await makePath(folder)
      const fresh = `${path}.${randomBytes(8).toString('hex')}.new`
      try {
        await attempt(`writing ${fresh}`, () => write(fresh, text))
        await attempt(`writing ${path}`, () => rename(fresh, path))
      } catch (error) {
        await rm(fresh, { force: true })
        throw error
      }
      await syncDirectory(folder)
    },
    async forget() {
      await attempt(`looking at ${folder}`, async () => checkDirectoryRights(folder))
      const names = (await unless(['ENOENT', 'ENOTDIR'], `reading ${folder}`, () => readdir(folder))) ?? []
      const found = names.filter((each) => each === name || left.test(each))
      for (const each of found) await attempt(`removing ${join(folder, each)}`, () => rm(join(folder, each)))
      if (found.length > 0) await syncDirectory(folder)
      return found.includes(name)
    },
  }
}

async function load(path: string): Promise<BoundToken | undefined> {
  const file = await unless(['ENOENT', 'ENOTDIR'], `reading ${path}`, () => openTrusted(path, constants.O_RDONLY))
  if (!file) return undefined
  try {
    const { mode } = await attempt(`looking at ${path}`, () => file.stat())
    // Windows has no such bits; a user's own folders are closed to others there.
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
      throw new OspError('usage', `the token in ${path} is open to others than its owner: run chmod 600 ${path}`)
    }
    return await tokenIn(file, path)
  } finally {
    await file.close()
  }
}

async function write(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}
