import type { FileHandle } from 'node:fs/promises'

/** Reads until `into` is full or the file ends. Resolves with the number of bytes. */
export async function readFull(handle: FileHandle, into: Uint8Array, offset: number): Promise<number> {
  let done = 0
  while (done < into.length) {
    const { bytesRead } = await handle.read(into, done, into.length - done, offset + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return done
}
