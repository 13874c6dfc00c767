import { randomBytes } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { OspError } from '../../errors.ts'
import { clientLimits, MiB } from '../../limits.ts'
import type { ReadSome } from '../disk/readFull.ts'

/** An unnamed file. The operating system removes it when it is closed, even if this process is killed. */
export interface TemporaryFile {
  readonly size: number
  readonly read: ReadSome
  close(): Promise<void>
}

/**
 * Copies content of unknown size to a file in the directory for temporary files. Rejects with OspError `too-large` if it has more than
 * `clientLimits.unsizedBytes`; the text names the content `what`, and ends with `advice`. Rejects with `source-unreadable` if the
 * copy cannot be written, and with the error of the content.
 */
export async function temporaryFile(
  what: string,
  content: AsyncIterable<Uint8Array>,
  advice: string,
): Promise<TemporaryFile> {
  const place = join(tmpdir(), `ospd-${randomBytes(8).toString('hex')}`)
  const failed = (cause: unknown): never => {
    const { code, message } = cause as NodeJS.ErrnoException
    const text = `${what} has no known size, and cannot be copied to ${place}: ${code ?? message}`
    throw new OspError('source-unreadable', text, { cause })
  }
  const handle = await open(place, 'wx+', 0o600).catch(failed)
  try {
    await rm(place).catch(failed)
    let size = 0
    for await (const part of content) {
      size += part.length
      if (size > clientLimits.unsizedBytes) {
        const text = `${what} has no known size and more than ${clientLimits.unsizedBytes / MiB} MiB of content; ${advice}`
        throw new OspError('too-large', text)
      }
      await handle.writeFile(part).catch(failed)
    }
    return {
      size,
      read: async (into, offset) => (await handle.read(into, 0, into.length, offset)).bytesRead,
      close: () => handle.close(),
    }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** Yields the parts of the stream. Converts its errors to OspError `source-unreadable`. */
export async function* unbroken(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* stream
  } catch (cause) {
    if (cause instanceof OspError) throw cause
    const text = cause instanceof Error ? cause.message : String(cause)
    throw new OspError('source-unreadable', `the stream cannot be read to its end: ${text}`, { cause })
  }
}
