import { type FileHandle, open } from 'node:fs/promises'
import { OspError } from '../../errors.ts'
import type { BoundToken, TokenBinding } from '../../runtime/tokenBinding.ts'
import { attempt, pathReason } from '../disk/faults.ts'
import { checkNamedFile } from '../disk/rights.ts'

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
export function textOf({ token, boundTo }: BoundToken): string {
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
export async function tokenIn(file: FileHandle, path: string): Promise<BoundToken> {
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
