import type { FileHandle } from 'node:fs/promises'
import { errnoOf } from './faults.ts'

/** What is tried by itself where a disk can't read all that is asked for. */
const blockBytes = 4_096

/** The bytes that are there, at most `length`. Where the disk can't read a block there are zeros: its records count as damaged. */
export async function readAt(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(Math.max(0, length))
  try {
    return bytes.subarray(0, await fill(handle, bytes, offset))
  } catch (error) {
    if (errnoOf(error) !== 'EIO') throw error
  }
  const there = Math.min(bytes.length, Math.max(0, (await handle.stat()).size - offset))
  for (let at = 0, end = 0; at < there; at = end) {
    // Always the same blocks, or what was readable in one reading would not be in another.
    end = Math.min(there, at + blockBytes - ((offset + at) % blockBytes))
    const block = bytes.subarray(at, end)
    try {
      await fill(handle, block, offset + at)
    } catch (error) {
      if (errnoOf(error) !== 'EIO') throw error
      block.fill(0)
    }
  }
  return bytes.subarray(0, there)
}

async function fill(handle: FileHandle, bytes: Buffer, offset: number): Promise<number> {
  let done = 0
  while (done < bytes.length) {
    const { bytesRead } = await handle.read(bytes, done, bytes.length - done, offset + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return done
}
