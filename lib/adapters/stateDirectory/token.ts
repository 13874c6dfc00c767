import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { OspError } from '../../errors.ts'
import { checkArgument, kinds } from '../../options.ts'
import type { BoundToken, TokenBinding } from '../../runtime/tokenBinding.ts'
import { makePath, syncDirectory } from '../disk/directories.ts'
import { attempt, pathReason, unless } from '../disk/faults.ts'
import { checkDirectoryRights, checkNamedFile, openTrusted } from '../disk/rights.ts'

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

/** Longer ones are no tokens: far below what fits a HELLO_REQ, far above what `ospd user` gives out. */
const tokenBytes = 1_024
/** No binding is longer. */
const bindingBytes = 64

/** White space and what is not printed, also what stands for bytes that are no UTF-8. */
const unfit = /[\s\p{Cc}\p{Cf}\p{Cs}\uFFFD]/u

/**
 * The token of a text, without the line's end behind it. Throws OspError `usage` where it is empty, too long, or more than
 * one word; that names `from` where it came, and never repeats the text.
 */
export function checkToken(text: string, from: string): string {
  const token = text.replace(/\r?\n$/u, '')
  if (token === '') throw new OspError('usage', `${from} is empty: it must hold the token alone`)
  if (Buffer.byteLength(token) > tokenBytes) {
    throw new OspError('usage', `${from} holds more than ${tokenBytes} bytes: that is no token`)
  }
  if (unfit.test(token)) {
    throw new OspError('usage', `${from} holds spaces or control characters: it must hold the token alone, on one line`)
  }
  return token
}

/** The second line of a token file: the connections that the token may be sent over. */
const binding = /^(?:authority|local|open|SHA256:[A-Za-z\d+/]{43})$/u

/** Returns the text of a token file. */
function textOf({ token, boundTo }: BoundToken): string {
  return boundTo === 'unrecorded' ? `${token}\n` : `${token}\n${boundTo}\n`
}

/**
 * The token in a file that has nothing else but, perhaps, the line of its binding. Rejects as `checkToken` throws, and with
 * OspError `usage` if the file cannot be read, or others than its owner and root can change or replace it.
 */
export async function readToken(path: string): Promise<BoundToken> {
  const cannot = (cause: Error): never => {
    throw new OspError('usage', `the token file ${path} cannot be read: ${pathReason(cause)}`, { cause })
  }
  const file = await open(path, 'r').catch(cannot)
  try {
    await attempt(`looking at ${path}`, async () => checkNamedFile(path)).catch(cannot)
    return await tokenIn(file, path)
  } finally {
    await file.close()
  }
}

/** As `readToken`, of an open file, of which no more is read than a token and its binding can have. */
async function tokenIn(file: FileHandle, path: string): Promise<BoundToken> {
  // With the ends of the lines, and one byte that says that there is more.
  const bytes = Buffer.alloc(tokenBytes + bindingBytes + 5)
  let length = 0
  while (length < bytes.length) {
    const { bytesRead } = await attempt(`reading ${path}`, () => file.read(bytes, length, bytes.length - length))
    if (bytesRead === 0) break
    length += bytesRead
  }
  const text = bytes.toString('utf8', 0, length)
  const [first = '', second = '', ...more] = text.split(/\r?\n/u)
  const isBound = binding.test(second) && more.join('') === ''
  const boundTo = isBound ? (second as TokenBinding) : 'unrecorded'
  return { token: checkToken(isBound ? first : text, `the token file ${path}`), boundTo }
}
