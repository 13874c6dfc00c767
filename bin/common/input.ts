import { createReadStream, fstatSync, ReadStream, readSync, statSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { isatty } from 'node:tty'
import { OspError } from 'ospd'

/**
 * Yields the content of stdin, until `signal` aborts. Rejects with OspError `source-unreadable` if stdin is closed, if it
 * cannot be read to its end, or if the terminal hangs up meanwhile. The hang-up also ends the program that writes to the
 * pipe, possibly before its last byte.
 */
export async function* readInput(signal?: AbortSignal): AsyncGenerator<Buffer> {
  if (signal?.aborted) return
  if (isClosed(0)) {
    throw unreadable('it is closed, or is /dev/null opened for writing; to send empty content, use "< /dev/null"')
  }
  const { stdin } = process
  // Node provides an empty stream for an unsupported type of file, such as a directory or block device.
  const isKnown = stdin instanceof Socket || (stdin as unknown) instanceof ReadStream
  const stream: Readable = isKnown ? stdin : createReadStream('', { fd: 0, autoClose: false })
  const hungUp = new AbortController()
  const hangUp = () => hungUp.abort()
  for (const each of [signal, hungUp.signal]) each?.addEventListener('abort', () => stream.destroy(), { once: true })
  if (isatty(2)) process.once('SIGHUP', hangUp)
  try {
    yield* stream
    // Node delivers a signal that arrives together with the end of the stream after that end.
    await setImmediate()
  } catch (error) {
    if (!hungUp.signal.aborted) throw unreadable((error as Error).message)
  } finally {
    process.off('SIGHUP', hangUp)
  }
  if (hungUp.signal.aborted) throw unreadable('the terminal hung up, and the end of the input may be missing')
}

function unreadable(reason: string): OspError {
  return new OspError('source-unreadable', `stdin cannot be read: ${reason}`)
}

/**
 * Returns whether stdin or stdout was closed when the process started. Node replaces a closed descriptor with
 * /dev/null, opened for reading and writing. A shell opens /dev/null for one of the two. (Some programs start others
 * with a read-write /dev/null as well: Python with DEVNULL, Node with `ignore`.)
 */
export function isClosed(fd: 0 | 1): boolean {
  try {
    const { rdev } = fstatSync(fd)
    if (rdev === 0 || rdev !== statSync('/dev/null').rdev) return false
    // Succeeds only on a descriptor that is open for both reading and writing.
    const byte = Buffer.alloc(1)
    if (fd === 0) writeSync(fd, byte)
    else readSync(fd, byte)
    return true
  } catch {
    return false
  }
}
