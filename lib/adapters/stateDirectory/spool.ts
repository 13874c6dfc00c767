import { randomBytes } from 'node:crypto'
import { open, readdir, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { OspError } from '../../errors.ts'
import { checkArgument, type Kind, kinds } from '../../options.ts'
import type { FileSource } from '../../ports/source.ts'
import { makePath, syncDirectory } from '../disk/directories.ts'
import { attempt, unless } from '../disk/faults.ts'
import { file } from '../node/fileSource.ts'

/** What was read from a stream, kept in a state directory so that it can be sent, and sent again. */
export interface Spooled {
  /** It is removed when its task is done or cancelled. */
  readonly source: FileSource
  /** Bytes. */
  readonly size: number
  /** Removes it: it did not become a task. */
  discard(): Promise<void>
}

/**
 * Reads a stream to its end into a file of a state directory, for its owner alone. Resolves when that is durable. Rejects
 * with OspError `disk-full` or `internal`, with an OspError that the stream fails with, and with `source-unreadable` for
 * another error of the stream; nothing is left then.
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

/** Whether a file is one of this state directory that was spooled. */
export function isSpooled(directory: string, path: string): boolean {
  return dirname(resolve(path)) === folderOf(directory)
}

/** Removes a file if it was spooled. */
export async function discardSpooled(directory: string, path: string): Promise<void> {
  if (isSpooled(directory, path)) await remove(path)
}

/**
 * Removes what was spooled and is none of `wanted` (paths), except what another program is just spooling, by the number
 * of its process.
 */
export async function sweepSpool(directory: string, wanted: Iterable<string>): Promise<void> {
  const folder = folderOf(directory)
  const names = await unless(['ENOENT'], `reading ${folder}`, () => readdir(folder))
  const kept = new Set([...wanted].map((path) => resolve(path)))
  for (const name of names ?? []) {
    const path = join(folder, name)
    if (!kept.has(path) && !isAlive(Number(/^\d+(?=\.)/u.exec(basename(name))?.[0]))) await remove(path)
  }
}

const streamKind: Kind = {
  takes: 'a stream of bytes',
  holds: (value) => typeof value === 'object' && value !== null && Symbol.asyncIterator in value,
}

const folderOf = (directory: string) => join(resolve(directory), 'spool')

async function fill(path: string, stream: AsyncIterable<Uint8Array>): Promise<number> {
  const handle = await attempt(`making ${path}`, () => open(path, 'wx', 0o600))
  let size = 0
  try {
    for await (const part of unbroken(stream)) {
      await attempt(`writing ${path}`, () => handle.writeFile(part))
      size += part.length
    }
    await attempt(`writing ${path}`, () => handle.sync())
  } finally {
    await handle.close()
  }
  return size
}

/** The parts of the stream; what it fails with becomes OspError `source-unreadable`. */
async function* unbroken(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const parts = stream[Symbol.asyncIterator]()
  for (;;) {
    const next = await parts.next().catch((cause: unknown) => {
      if (cause instanceof OspError) throw cause
      const text = cause instanceof Error ? cause.message : String(cause)
      throw new OspError('source-unreadable', `it cannot be read to its end: ${text}`, { cause })
    })
    if (next.done) return
    yield next.value
  }
}

const remove = (path: string) => attempt(`removing ${path}`, () => rm(path, { force: true }))

function isAlive(pid: number): boolean {
  if (!(pid > 0)) return false
  try {
    process.kill(pid, 0)
    return pid !== process.pid
  } catch (error) {
    // It may be another user's.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
