import { randomBytes } from 'node:crypto'
import { open, readdir, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { OspError } from '../../errors.ts'
import { clientLimits, GiB } from '../../limits.ts'
import { checkArgument, type Kind, kinds } from '../../options.ts'
import type { Spooled } from '../../ports/source.ts'
import { makePath, syncDirectory } from '../disk/directories.ts'
import { attempt, unless } from '../disk/faults.ts'
import { file } from '../node/fileSource.ts'
import { unbroken } from '../node/temporaryFile.ts'

/**
 * Reads a stream to its end into a file of a state directory that only its owner can read. Resolves when the file is
 * durable. Rejects with OspError `disk-full` or `internal`, with `too-large` if it has more than `clientLimits.spooledBytes`, with
 * an OspError of the stream, or with `source-unreadable` for another error of the stream, and leaves no file.
 */
export async function spool(directory: string, stream: AsyncIterable<Uint8Array>, name: string): Promise<Spooled> {
  checkArgument('spool', 'the directory', kinds.path, directory)
  checkArgument('spool', 'the stream', streamKind, stream)
  checkArgument('spool', 'the name', kinds.text, name)
  const folder = folderOf(directory)
  await makePath(folder)
  const path = join(folder, `${process.pid}.${randomBytes(8).toString('hex')}`)
  try {
    const size = await fill(path, stream)
    await syncDirectory(folder)
    return { source: file(path, { name }), size, discard: () => remove(path) }
  } catch (error) {
    await remove(path)
    throw error
  }
}

/** Returns whether a file is a spooled file of this state directory. */
export function isSpooled(directory: string, path: string): boolean {
  return dirname(resolve(path)) === folderOf(directory)
}

/** Returns a function that removes a file if it is a spooled file of this state directory. */
export function spoolRemover(directory: string): (path: string) => Promise<void> | undefined {
  const folder = folderOf(directory)
  return (path) => (dirname(path) === folder ? remove(path) : undefined)
}

/** Removes all spooled files except the paths `wanted`, and those of other running processes, whose ids the names contain. */
export async function sweepSpool(directory: string, wanted: Iterable<string>): Promise<void> {
  const folder = folderOf(directory)
  const names = await unless(['ENOENT'], `reading ${folder}`, () => readdir(folder))
  const kept = new Set([...wanted].map((path) => resolve(path)))
  for (const name of names ?? []) {
    const path = join(folder, name)
    if (!kept.has(path) && !isAlive(Number(/^\d+(?=\.)/u.exec(basename(name))?.[0]))) await remove(path)
  }
}

/** Returns the references of the tasks that still need their sources. */
export function wantedRefs(tasks: readonly { readonly state: string; readonly ref?: string | undefined }[]): string[] {
  return tasks.flatMap(({ state, ref }) => (state === 'done' || state === 'cancelled' ? [] : (ref ?? [])))
}

const streamKind: Kind = {
  takes: 'a stream of bytes',
  holds: (value) => typeof value === 'object' && value !== null && Symbol.asyncIterator in value,
}

const folderOf = (directory: string) => join(resolve(directory), 'spool')

async function fill(path: string, stream: AsyncIterable<Uint8Array>): Promise<number> {
  await using handle = await attempt(`creating ${path}`, () => open(path, 'wx', 0o600))
  return await attempt(`writing ${path}`, async () => {
    await writeFile(handle, bounded(unbroken(stream)))
    await handle.sync()
    return (await handle.stat()).size
  })
}

/** Yields the parts of the stream. Throws OspError `too-large` above the bound. */
async function* bounded(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const { spooledBytes } = clientLimits
  let bytes = 0
  for await (const part of stream) {
    bytes += part.length
    if (bytes > spooledBytes) {
      const text = `the stream has more than ${spooledBytes / GiB} GiB; write it to a file, and send the file`
      throw new OspError('too-large', text)
    }
    yield part
  }
}

const remove = (path: string) => attempt(`removing ${path}`, () => rm(path, { force: true }))

function isAlive(pid: number): boolean {
  if (!(pid > 0)) return false
  try {
    process.kill(pid, 0)
    return pid !== process.pid
  } catch (error) {
    // The process may belong to another user.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
