import { Buffer, isUtf8 } from 'node:buffer'
import { readlinkSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { OspError } from '../../errors.ts'

/** The characters U+DC80 to U+DCFF encode the bytes 0x80 to 0xFF that are not UTF-8. No other text contains them. */
const strayByte = 0xdc00
const strayBytes = /([\uDC80-\uDCFF])/u

/**
 * Encodes the path of a file as text. Unix file systems accept any bytes as a name. A byte that is not part of a UTF-8
 * character becomes one of U+DC80 to U+DCFF, as in Python's `surrogateescape`. Such a text works wherever a path does,
 * also in JSON. Different paths have different texts.
 */
export function pathText(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (isUtf8(buffer)) return buffer.toString('utf8')
  let text = ''
  for (let at = 0; at < buffer.length; ) {
    const length = lengthOfCharacter(buffer, at)
    text += length > 0 ? buffer.toString('utf8', at, at + length) : String.fromCharCode(strayByte + (buffer[at] ?? 0))
    at += length || 1
  }
  return text
}

/**
 * Decodes the text of a path to a value that `node:fs` accepts. Node would replace a byte that is not UTF-8 with U+FFFD
 * and open another file. Throws OspError `usage` for a text that is not a path.
 */
export function pathBytes(path: string): string | Buffer {
  // Windows names are UTF-16, which Node passes unchanged.
  if (path.isWellFormed() || process.platform === 'win32') return path
  return Buffer.concat(
    path.split(strayBytes).map((part) => {
      if (strayBytes.test(part)) return Buffer.of(part.charCodeAt(0) - strayByte)
      if (part.isWellFormed()) return Buffer.from(part)
      throw new OspError('usage', `no file can have the path ${JSON.stringify(path)}: it is not valid Unicode`)
    }),
  )
}

/** Returns the path of a `file:` URL. Throws OspError `usage`, which names the function `where`, for a URL without one. */
export function pathOf(where: string, path: string | URL): string {
  if (typeof path === 'string') return path
  try {
    return fileURLToPath(path)
  } catch (error) {
    throw new OspError('usage', `${where}: ${path} is not the URL of a file: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/** Matches a path that may not be in its absolute form: an empty component, or one that begins with a dot. */
const unresolved = /^[^/]|\/(?:[./]|$)/u

/** Returns the absolute form of a path encoded by `pathText`, relative to the current working directory. */
export function absolutePath(path: string): string {
  if (process.platform !== 'win32' && !unresolved.test(path)) return path
  return isAbsolute(path) ? resolve(path) : resolve(workingDirectory(), path)
}

function workingDirectory(): string {
  const lossy = process.cwd()
  if (!lossy.includes('\uFFFD')) return lossy
  try {
    return pathText(readlinkSync('/proc/self/cwd', { encoding: 'buffer' }))
  } catch {
    // On systems without /proc, names of files are Unicode.
    return lossy
  }
}

/** Returns the length of the UTF-8 character at this offset, or 0 if there is none. */
function lengthOfCharacter(buffer: Buffer, at: number): number {
  const first = buffer[at] ?? 0
  const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
  const character = buffer.subarray(at, at + length)
  return character.length === length && isUtf8(character) ? length : 0
}
