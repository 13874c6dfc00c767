import { constants } from 'node:fs'
import { lstat, readdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { OspError } from '../../errors.ts'
import { syncDirectory } from './directories.ts'
import { attempt, unless } from './faults.ts'
import type { Layout } from './layout.ts'
import { makeOwnFile } from './ownFile.ts'

/** The version of the layout that this code writes and understands. */
const version = 1

/** What may lie in a directory that is about to become a data directory. */
const harmless = new Set([
  ...['format.new', 'lost+found', 'daemon.json', 'control.sock'],
  ...['users.json', 'users.json.new', 'users.lock', 'tls'],
])

/**
 * Makes sure that an existing directory is a data directory of this version, or makes an empty one such.
 * Rejects with OspError `data-format` for anything else.
 */
export async function checkFormat(layout: Layout): Promise<void> {
  const { directory, format } = layout
  const text = await unless(['ENOENT'], `reading ${format}`, () => readFile(format, 'utf8'))
  if (text === undefined) {
    const entries = await attempt(`reading the directory ${directory}`, () => readdir(directory))
    const strange = entries.find((entry) => !harmless.has(entry))
    if (strange !== undefined) {
      throw new OspError(
        'data-format',
        `${directory} is not a data directory: it has no file "format" but holds "${strange}"; name an empty directory`,
      )
    }
    return writeFormat(layout)
  }
  const found = /^ospd (\d+)\s*$/.exec(text)?.[1]
  if (found === String(version)) return
  const what = found === undefined ? 'is damaged' : `says version ${found}, this ospd writes version ${version}`
  throw new OspError('data-format', `${format} ${what}; use the ospd that wrote it, or another data directory`)
}

/** Whether names in this directory that differ only in case lead to the same file. */
export async function foldsCase({ directory, format }: Layout): Promise<boolean> {
  const doing = `looking at ${format}`
  const other = await unless(['ENOENT'], doing, () => lstat(join(directory, 'FORMAT'), { bigint: true }))
  const own = await attempt(doing, () => lstat(format, { bigint: true }))
  return other?.ino === own.ino
}

async function writeFormat({ directory, format }: Layout): Promise<void> {
  await attempt(`writing ${format}`, async () => {
    const handle = await makeOwnFile(`${format}.new`, constants.O_WRONLY)
    try {
      await handle.writeFile(`ospd ${version}\n`)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(`${format}.new`, format)
  })
  await syncDirectory(directory)
}
