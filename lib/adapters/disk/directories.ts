import { mkdir, open } from 'node:fs/promises'
import { attempt, unless } from './faults.ts'

/** Makes a directory that only its owner can enter; resolves with whether it was not there. */
export async function makeDirectory(path: string): Promise<boolean> {
  const made = await unless(['EEXIST'], `making the directory ${path}`, async () => {
    await mkdir(path, { mode: 0o700 })
    return true
  })
  return made ?? false
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
