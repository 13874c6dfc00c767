import { createReadStream, fstatSync, ReadStream, readSync, statSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { isatty } from 'node:tty'
import { OspError } from 'ospd'

/** Content that a command reads from stdin. */
export interface Input extends AsyncIterable<Buffer> {
  /** Stops reading. */
  destroy(): void
}

/**
 * Returns stdin as content to send. Reading rejects with OspError `source-unreadable` if stdin is closed, if it cannot
 * be read to its end, or if the terminal hangs up meanwhile. The hang-up also ends the program that writes to the pipe,
 * possibly before its last byte.
 */
export const readInput = (): Input => new StandardInput()

class StandardInput implements Input {
  #stream: Readable | undefined
  #isDestroyed = false
  #isHungUp = false

  destroy(): void {
    this.#isDestroyed = true
    this.#stream?.destroy()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    if (this.#isDestroyed) return
    if (isClosed(0)) {
      throw unreadable('it is closed, or is /dev/null opened for writing; to send empty content, use "< /dev/null"')
    }
    const stream = streamOf()
    this.#stream = stream
    const hangUp = () => {
      this.#isHungUp = true
      stream.destroy()
    }
    if (isatty(2)) process.once('SIGHUP', hangUp)
    try {
      yield* stream
      // Node delivers a signal that arrives together with the end of the stream after that end.
      await setImmediate()
    } catch (error) {
      if (!this.#isHungUp) throw unreadable((error as Error).message)
    } finally {
      process.off('SIGHUP', hangUp)
    }
    if (this.#isHungUp) throw unreadable('the terminal hung up, and the end of the input may be missing')
  }
}

/**
 * Opens stdin. Node provides an empty stream for a file of a type that it does not support, such as a directory or a
 * block device.
 */
function streamOf(): Readable {
  const { stdin } = process
  const isKnown = stdin instanceof Socket || (stdin as unknown) instanceof ReadStream
  return isKnown ? stdin : createReadStream('', { fd: 0, autoClose: false })
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
