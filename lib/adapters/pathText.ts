import { Buffer, isUtf8 } from 'node:buffer'
import { readlinkSync } from 'node:fs'
import { resolve } from 'node:path'
import { OspError } from '../errors.ts'

/** Bytes that are not UTF-8, and no other text, have these characters: each byte from 0x80 on, as U+DC80 to U+DCFF. */
const strayByte = 0xdc00
const strayBytes = /([\uDC80-\uDCFF])/u

/**
 * The path of a file as text. File systems of Unix take any bytes as a name: a byte that belongs to no UTF-8 character becomes one
 * of U+DC80 to U+DCFF, as in the `surrogateescape` of Python. Such a path is as good as any other here, also in JSON; two
 * different paths have different texts.
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
 * What `node:fs` takes to reach the file of a path as `pathText` writes it. Node would write U+FFFD for a byte that is not UTF-8,
 * and find another file. Throws OspError `usage` for a text that is no path.
 */
export function pathBytes(path: string): string | Buffer {
  // Windows has names of UTF-16, which Node passes on as they are.
  if (path.isWellFormed() || process.platform === 'win32') return path
  return Buffer.concat(
    path.split(strayBytes).map((part) => {
      if (strayBytes.test(part)) return Buffer.of(part.charCodeAt(0) - strayByte)
      if (part.isWellFormed()) return Buffer.from(part)
      throw new OspError('usage', `no file can have the path ${JSON.stringify(path)}: it is not valid Unicode`)
    }),
  )
}

/** The absolute form of a path as `pathText` writes it; it counts from the present working directory. */
export function absolutePath(path: string): string {
  return resolve(workingDirectory(), path)
}

function workingDirectory(): string {
  const lossy = process.cwd()
  if (!lossy.includes('\uFFFD')) return lossy
  try {
    return pathText(readlinkSync('/proc/self/cwd', { encoding: 'buffer' }))
  } catch {
    // Systems without /proc have file systems whose names are Unicode.
    return lossy
  }
}

/** Bytes of the UTF-8 character that begins there; 0 if none does. */
function lengthOfCharacter(buffer: Buffer, at: number): number {
  const first = buffer[at] ?? 0
  const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
  const character = buffer.subarray(at, at + length)
  return character.length === length && isUtf8(character) ? length : 0
}
