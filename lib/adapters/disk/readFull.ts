import type { FileHandle } from 'node:fs/promises'

/** Reads some bytes at an offset. Resolves with their number; 0 at the end. */
export type ReadSome = (into: Uint8Array, offset: number) => number | Promise<number>

/** Reads until `into` is full or the file ends. Resolves with the number of bytes. */
export async function readUntilFull(read: ReadSome, into: Uint8Array, offset: number): Promise<number> {
  let done = 0
  while (done < into.length) {
    const bytes = await read(into.subarray(done), offset + done)
    if (bytes === 0) break
    done += bytes
  }
  return done
}

/** Reads from a handle as `readUntilFull` does. */
export function readFull(handle: FileHandle, into: Uint8Array, offset: number): Promise<number> {
  return readUntilFull(async (piece, at) => (await handle.read(piece, 0, piece.length, at)).bytesRead, into, offset)
}
