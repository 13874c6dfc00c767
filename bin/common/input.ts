import { createReadStream, fstatSync, ReadStream, readSync, statSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { isatty } from 'node:tty'
import { OspError } from 'ospd'

/** Content that a command reads from stdin. */
export interface Input extends AsyncIterable<Buffer> {
  /** Ends the reading. */
  destroy(): void
}

/**
 * stdin as content to be sent. Reading rejects with OspError `source-unreadable` if stdin is closed or cannot be read to its end,
 * or if the terminal hangs up meanwhile: the hang-up ends the program that writes to the pipe as well, perhaps before its last
 * byte.
 */
export function readInput(): Input {
  let stream: Readable | undefined
  let isEnded = false
  return {
    destroy() {
      isEnded = true
      stream?.destroy()
    },
    async *[Symbol.asyncIterator]() {
      if (isEnded) return
      if (isClosed(0)) {
        throw unreadable('it is closed, or is /dev/null opened for writing; to send nothing, give "< /dev/null"')
      }
      stream = streamOf()
      let isHungUp = false
      const hangUp = () => {
        isHungUp = true
        stream?.destroy()
      }
      if (isatty(2)) process.once('SIGHUP', hangUp)
      try {
        for await (const part of stream) yield part as Buffer
        // A signal that came together with the end is told after it.
        await setImmediate()
      } catch (error) {
        if (!isHungUp) throw unreadable((error as Error).message)
      } finally {
        process.off('SIGHUP', hangUp)
      }
      if (isHungUp) throw unreadable('the terminal has hung up, and its end may be missing')
    },
  }
}

/** Node has an empty stream in the place of what it does not know, such as a directory or a block device. */
function streamOf(): Readable {
  const { stdin } = process
  const isKnown = stdin instanceof Socket || (stdin as unknown) instanceof ReadStream
  return isKnown ? stdin : createReadStream('', { fd: 0, autoClose: false })
}

function unreadable(reason: string): OspError {
  return new OspError('source-unreadable', `stdin cannot be read: ${reason}`)
}

/**
 * Whether stdin or stdout was closed when the process began. Node opens /dev/null for reading and writing in its place; a shell
 * opens it for one of the two. (Some programs start others with such a /dev/null: Python with DEVNULL, Node with `ignore`.)
 */
export function isClosed(fd: 0 | 1): boolean {
  try {
    const { rdev } = fstatSync(fd)
    if (rdev === 0 || rdev !== statSync('/dev/null').rdev) return false
    // It can do what the other one is for.
    const byte = Buffer.alloc(1)
    if (fd === 0) writeSync(fd, byte)
    else readSync(fd, byte)
    return true
  } catch {
    return false
  }
}
