import { lstat, readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { OspError } from '../../errors.ts'
import type { Platform } from '../../ports/platform.ts'
import { replaceFile } from './directories.ts'
import { attempt, unless } from './faults.ts'
import type { Layout } from './layout.ts'

/** The version of the layout that this code writes and understands. */
const version = 2

/**
 * The entries that a directory may have before it becomes a data directory. A mount point can be at `files`, and
 * `files` and `mailboxes` can be moved there from a data directory of an older version.
 */
const harmless = new Set([
  ...['files', 'mailboxes'],
  ...['format.new', 'lost+found', 'daemon.json', 'control.sock'],
  ...['users.json', 'users.json.new', 'users.lock', 'tls'],
])

type Crc32 = Platform['crc32']

/**
 * Checks that an existing directory is a data directory of this version, or initializes an empty one. If only the file
 * `format` is damaged and the rest is a data directory, rewrites the file and resolves with true. Rejects with OspError
 * `data-format` for any other directory.
 */
export async function checkFormat(layout: Layout, crc32: Crc32): Promise<boolean> {
  const { directory, format } = layout
  const content = await unless(['ENOENT'], `reading ${format}`, () => readFile(format, 'utf8'))
  if (content === undefined) {
    const entries = await attempt(`reading the directory ${directory}`, () => readdir(directory))
    const strange = entries.find((entry) => !harmless.has(entry))
    if (strange !== undefined) {
      const text = `${directory} is not a data directory: it has no file "format" but contains "${strange}"; choose an empty directory`
      throw new OspError('data-format', text)
    }
    await replaceFile(format, textOf(crc32), true)
    return false
  }
  const found = versionIn(content, crc32)
  if (found === version) return false
  if (found === undefined && (await isLaidOut(layout))) {
    await replaceFile(format, textOf(crc32), true)
    return true
  }
  const what =
    found === undefined ? 'is damaged' : `says version ${found}, and this ospd reads and writes version ${version}`
  const advice =
    found === 1
      ? 'let the ospd that wrote it finish its uploads, then move "files" and "mailboxes" into a new data directory'
      : 'use the ospd that wrote it, or another data directory'
  throw new OspError('data-format', `${format} ${what}; ${advice}`)
}

const textOf = (crc32: Crc32) => `ospd ${version} ${sumOf(`ospd ${version}`, crc32)}\n`
const sumOf = (line: string, crc32: Crc32) => crc32(Buffer.from(line)).toString(16).padStart(8, '0')

/** Returns the version in the text of the file, or `undefined` if the text is damaged. Version 1 had no CRC. */
function versionIn(text: string, crc32: Crc32): number | undefined {
  if (text === 'ospd 1\n') return 1
  const [, line = '', number, sum] = /^(ospd (\d+)) ([\da-f]{8})\n$/.exec(text) ?? []
  return sum !== undefined && sum === sumOf(line, crc32) ? Number(number) : undefined
}

/** Returns whether all directories of this version exist. */
async function isLaidOut({ directory, uploads, partial, files, mailboxes }: Layout): Promise<boolean> {
  const entries = await attempt(`reading the directory ${directory}`, () => readdir(directory))
  return [uploads, partial, files, mailboxes].every((path) => entries.includes(basename(path)))
}

/** Returns whether names in this directory that differ only in case lead to the same file. */
export async function foldsCase({ directory, format }: Layout): Promise<boolean> {
  const doing = `checking ${format}`
  const other = await unless(['ENOENT'], doing, () => lstat(join(directory, 'FORMAT'), { bigint: true }))
  const own = await attempt(doing, () => lstat(format, { bigint: true }))
  return other?.ino === own.ino
}
