import { mkdir, open, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { attempt, errnoOf, unless } from './faults.ts'

/** Makes a directory that only its owner can enter; resolves with whether it was not there. */
export async function makeDirectory(path: string): Promise<boolean> {
  const made = await unless(['EEXIST'], `making the directory ${path}`, async () => {
    await mkdir(path, { mode: 0o700 })
    return true
  })
  return made ?? false
}

/** Makes a directory and those above it that are missing: durable. (Node's own way of doing so never ends below /proc.) */
export async function makePath(path: string): Promise<void> {
  const directory = resolve(path)
  const there = await unless(['ENOENT'], `looking at ${directory}`, () => stat(directory))
  if (there?.isDirectory()) return
  const parent = dirname(directory)
  await makePath(parent)
  await attempt(`making the directory ${directory}`, () => mkdirOrFind(directory))
  await syncDirectory(parent)
}

/** Another program can make it at the same time. */
async function mkdirOrFind(directory: string): Promise<void> {
  try {
    await mkdir(directory, { mode: 0o700 })
  } catch (error) {
    const isThere = errnoOf(error) === 'EEXIST' && (await stat(directory)).isDirectory()
    if (!isThere) throw error
  }
}

/** Makes the entries of a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  // Windows can't flush a directory; its file system keeps the order of such changes itself.
  if (process.platform === 'win32') return
  await attempt(`flushing the directory ${path}`, async () => {
    const handle = await open(path, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  })
}
