import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, readdir, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { OspError } from '../../errors.ts'
import { checkArgument, kinds } from '../../options.ts'
import type { BoundToken, TokenBinding } from '../../runtime/tokenBinding.ts'
import { makePath, replaceFile, syncDirectory } from '../disk/directories.ts'
import { attempt, pathReason, unless } from '../disk/faults.ts'
import { checkDirectoryRights, checkNamedFile, checkPrivate, openTrusted } from '../disk/rights.ts'

/** The stored token of one user on one server. */
export interface KeptToken {
  /**
   * Resolves with the token, or `undefined` if none is stored. A token of an earlier version is bound to `unrecorded`.
   * Rejects with OspError `usage` if other users can read the file or it contains no token, `data-format` if another user
   * could change or replace it, and `internal` if it cannot be read.
   */
  load(): Promise<BoundToken | undefined>
  /**
   * Stores a token in place of any other, atomically and durably, with the connections over which it may be sent
   * (`bindingOf` the connection of its login). Rejects with OspError `usage` if the text is not a token.
   */
  keep(token: string, boundTo?: TokenBinding): Promise<void>
  /** Removes the token durably. Resolves with whether there was one. */
  forget(): Promise<boolean>
}

const name = 'token'

/** Matches the temporary files of programs that were killed while they stored a token. */
const temporary = /^token\.[0-9a-f]{16}\.new$/u

/** Returns the token in a state directory, in a file that only its owner can read. `keep` creates the directory. */
export function keptToken(directory: string): KeptToken {
  checkArgument('keptToken', 'the directory', kinds.path, directory)
  const folder = resolve(directory)
  const path = join(folder, name)
  return {
    load: () => load(path),
    async keep(token, boundTo = 'unrecorded') {
      const lines = [checkToken(token, 'the token'), ...(boundTo === 'unrecorded' ? [] : [boundTo])]
      await makePath(folder)
      const fresh = `${path}.${randomBytes(8).toString('hex')}.new`
      await replaceFile(path, `${lines.join('\n')}\n`, true, fresh).catch(async (error: unknown) => {
        await rm(fresh, { force: true })
        throw error
      })
    },
    async forget() {
      await attempt(`checking ${folder}`, async () => checkDirectoryRights(folder))
      const names = (await unless(['ENOENT', 'ENOTDIR'], `reading ${folder}`, () => readdir(folder))) ?? []
      const found = names.filter((each) => each === name || temporary.test(each))
      for (const each of found) await attempt(`removing ${join(folder, each)}`, () => rm(join(folder, each)))
      if (found.length > 0) await syncDirectory(folder)
      return found.includes(name)
    },
  }
}

async function load(path: string): Promise<BoundToken | undefined> {
  await using file = await unless(['ENOENT', 'ENOTDIR'], `reading ${path}`, () => openTrusted(path, constants.O_RDONLY))
  if (!file) return undefined
  const { mode } = await attempt(`checking ${path}`, () => file.stat())
  checkPrivate('the token', path, mode)
  return await tokenIn(file, path)
}

/** The maximum lengths. A HELLO_REQ has room for more, and the tokens of `ospd user` are much shorter. */
const tokenBytes = 1_024
const bindingBytes = 64

/** Matches white space and characters that are not printed, including the replacements of bytes that are not UTF-8. */
const unfit = /[\s\p{Cc}\p{Cf}\p{Cs}\uFFFD]/u

/**
 * Returns the token in a text, without the newline after it. Throws OspError `usage` if the token is empty, too long, or more
 * than one word. The message names `from`, the source of the text, and does not repeat the text.
 */
export function checkToken(text: string, from: string): string {
  const token = text.replace(/\r?\n$/u, '')
  const invalid = (text: string) => new OspError('usage', `${from} ${text}`)
  if (token === '') throw invalid('is empty; it must contain only the token')
  if (Buffer.byteLength(token) > tokenBytes) throw invalid(`has more than ${tokenBytes} bytes and is not a token`)
  if (unfit.test(token))
    throw invalid('contains spaces or control characters; it must contain only the token, on one line')
  return token
}

/** The second line of a token file: the connections that the token may be sent over. */
const binding = /^(?:authority|local|open|SHA256:[A-Za-z\d+/]{43})$/u

/**
 * Resolves with the token in a file that contains only the token and, optionally, the line of its binding. Rejects as
 * `checkToken` throws, and with OspError `usage` if the file cannot be read, or if users other than its owner and root can
 * change or replace it.
 */
export async function readToken(path: string): Promise<BoundToken> {
  const cannot = (cause: Error): never => {
    throw new OspError('usage', `the token file ${path} cannot be read: ${pathReason(cause)}`, { cause })
  }
  await using file = await open(path, 'r').catch(cannot)
  await attempt(`checking ${path}`, async () => checkNamedFile(path)).catch(cannot)
  return await tokenIn(file, path)
}

/** Like `readToken`, for an open file. Reads no more than the maximum length of a token and its binding. */
async function tokenIn(file: FileHandle, path: string): Promise<BoundToken> {
  // Includes the ends of the lines, and one byte that shows that there is more.
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
