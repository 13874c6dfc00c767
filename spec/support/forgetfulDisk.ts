import { open, stat } from 'node:fs/promises'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { Layout } from '../../lib/adapters/disk/layout.ts'
import type { Storage } from '../../lib/ports/storage.ts'
import { stepped } from './steppedStorage.ts'

/** A storage in a directory whose flushes of one partial file can fail. */
export interface ForgetfulDisk {
  readonly storage: Storage
  /** Leading bytes of the file that a flush has covered. */
  readonly flushed: number
  /** Number of failed flushes, and number of bytes that they lost. */
  readonly failures: number
  /** Number of ended flushes. */
  readonly flushes: number
  readonly lost: number
}

/**
 * Makes each flush fail for whose number, from 1, `fails` returns true. The data that it should have flushed is lost,
 * as Linux drops the pages that it could not write: the next flush succeeds.
 */
export function forgetfulDisk(
  data: string,
  user: string,
  name: string,
  fails: (nth: number) => boolean,
): ForgetfulDisk {
  const path = new Layout(data).partialOf(user, name)
  const self = { flushed: 0, failures: 0, flushes: 0, lost: 0 }
  let count = 0
  const storage = stepped(disk(data), async (step, run) => {
    if (step === 'truncate') {
      const result = await run()
      self.flushed = Math.min(self.flushed, (await stat(path)).size)
      return result
    }
    if (step !== 'flush') return run()
    const { size } = await stat(path)
    if (fails(++count)) {
      self.failures++
      self.lost += size - self.flushed
      await forget(path, self.flushed, size)
      self.flushes++
      throw new Error('EIO: i/o error, fdatasync')
    }
    const result = await run()
    self.flushed = size
    self.flushes++
    return result
  })
  return {
    storage,
    get flushed() {
      return self.flushed
    },
    get failures() {
      return self.failures
    },
    get flushes() {
      return self.flushes
    },
    get lost() {
      return self.lost
    },
  }
}

async function forget(path: string, from: number, to: number): Promise<void> {
  const handle = await open(path, 'r+')
  try {
    await handle.write(new Uint8Array(to - from), 0, to - from, from)
  } finally {
    await handle.close()
  }
}
