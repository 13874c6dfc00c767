import { type BigIntStats, constants } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import { OspError } from '../errors.ts'
import type { FileSource, OpenSource } from '../ports/source.ts'

/** Settings of a file to upload. */
export interface FileOptions {
  /** The name on the server; by default the last part of the path, in the Unicode form NFC. */
  readonly name?: string
}

/** A regular file of this machine as something to upload; `path` counts from the present working directory. */
export function file(path: string, options: FileOptions = {}): FileSource {
  const ref = resolve(path)
  return {
    name: options.name ?? basename(ref).normalize('NFC'),
    ref,
    async open(signal) {
      signal.throwIfAborted()
      // Without O_NONBLOCK opening a named pipe would wait for a writer.
      const handle = await open(ref, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch((error) => {
        throw unreadable(ref, error)
      })
      try {
        const stats = await handle.stat({ bigint: true })
        if (!stats.isFile())
          throw new OspError('source-unreadable', `${ref} is not a regular file; name a file to send`)
        signal.throwIfAborted()
        return new OpenFile(ref, handle, stats)
      } catch (error) {
        await handle.close()
        throw error instanceof OspError || signal.aborted ? error : unreadable(ref, error)
      }
    },
  }
}

class OpenFile implements OpenSource {
  readonly size: number
  readonly modifiedAt: number
  readonly #path: string
  readonly #handle: FileHandle
  readonly #stats: BigIntStats

  constructor(path: string, handle: FileHandle, stats: BigIntStats) {
    this.#path = path
    this.#handle = handle
    this.#stats = stats
    this.size = Number(stats.size)
    this.modifiedAt = Math.max(0, Number(stats.mtimeNs / 1_000_000n))
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    let done = 0
    try {
      while (done < into.length) {
        const { bytesRead } = await this.#handle.read(into, done, into.length - done, offset + done)
        if (bytesRead === 0) break
        done += bytesRead
      }
    } catch (error) {
      throw unreadable(this.#path, error)
    }
    return done
  }

  async unchanged(): Promise<boolean> {
    try {
      const [held, named] = await Promise.all([
        this.#handle.stat({ bigint: true }),
        // The path may lead to another file by now, while the handle still holds the old one.
        stat(this.#path, { bigint: true }),
      ])
      return same(held, this.#stats) && same(named, this.#stats)
    } catch (error) {
      throw unreadable(this.#path, error)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close()
  }
}

function same(a: BigIntStats, b: BigIntStats): boolean {
  return a.dev === b.dev && a.ino === b.ino && a.size === b.size && a.mtimeNs === b.mtimeNs
}

function unreadable(path: string, cause: unknown): OspError {
  const { code, message } = cause as NodeJS.ErrnoException
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new OspError('source-missing', `${path} does not exist; check the path`, { cause })
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new OspError('source-unreadable', `${path} may not be read by this user; change its permissions`, { cause })
  }
  return new OspError('source-unreadable', `${path} cannot be read (${code ?? message}); check the disk it is on`, {
    cause,
  })
}
