import fs, { type BigIntStats } from 'node:fs'
import promises from 'node:fs/promises'
import { promisify } from 'node:util'
import { KiB } from '../../limits.ts'

/*
 * File system calls that the system usually answers from memory, in microseconds. They run in this thread, because a call in
 * another thread takes twenty times as long. On a slow file system, such as a network file system, they run in other threads.
 */

/** Calls are slow if they take longer than this on average. */
const slowMs = 0.5
/** The weight of the latest call in the average, and the longest time that counts: another process may have run meanwhile. */
const latestShare = 1 / 50
const longestMs = 5
/** The time for which calls run in other threads after they were slow. */
const elsewhereMs = 5_000

/** Longer reads take more time than handing them to another thread. */
const longBytes = 64 * KiB

/** Measures the calls in this thread, and decides where the next ones run. */
class CallTimer {
  #averageMs = 0
  #elsewhereUntilMs = Number.NEGATIVE_INFINITY

  readonly quick = <T>(here: () => T, elsewhere: () => Promise<T>): T | Promise<T> => {
    const start = performance.now()
    if (start < this.#elsewhereUntilMs) return elsewhere()
    try {
      return here()
    } finally {
      const end = performance.now()
      this.#averageMs += latestShare * (Math.min(end - start, longestMs) - this.#averageMs)
      if (this.#averageMs > slowMs) {
        this.#averageMs = 0
        this.#elsewhereUntilMs = end + elsewhereMs
      }
    }
  }
}

const { quick } = new CallTimer()

const big = { bigint: true } as const
const fstat = promisify(fs.fstat) as (fd: number, options: typeof big) => Promise<BigIntStats>
const open = promisify(fs.open) as (path: fs.PathLike, flags: number, mode?: number) => Promise<number>
const read = promisify(fs.read) as (
  fd: number,
  into: Uint8Array,
  options: fs.ReadSyncOptions,
) => Promise<{ bytesRead: number }>
const close = promisify(fs.close)

/** Each of these does what the function of the same name in node:fs does. */
export const quickCalls = {
  lstat: (path: fs.PathLike) =>
    quick(
      () => fs.lstatSync(path, big),
      () => promises.lstat(path, big),
    ),
  stat: (path: fs.PathLike) =>
    quick(
      () => fs.statSync(path, big),
      () => promises.stat(path, big),
    ),
  fstat: (fd: number) =>
    quick(
      () => fs.fstatSync(fd, big),
      () => fstat(fd, big),
    ),
  open: (path: fs.PathLike, flags: number, mode?: number) =>
    quick(
      () => fs.openSync(path, flags, mode),
      () => open(path, flags, mode),
    ),
  /** Returns the number of bytes. Long reads run in another thread, at the same time as this one. */
  read: (fd: number, into: Uint8Array, position: number) => {
    const elsewhere = async () => (await read(fd, into, { position })).bytesRead
    return into.length > longBytes ? elsewhere() : quick(() => fs.readSync(fd, into, { position }), elsewhere)
  },
  close: (fd: number) =>
    quick(
      () => fs.closeSync(fd),
      () => close(fd),
    ),
  rename: (from: string, to: string) =>
    quick(
      () => fs.renameSync(from, to),
      () => promises.rename(from, to),
    ),
  link: (from: string, to: string) =>
    quick(
      () => fs.linkSync(from, to),
      () => promises.link(from, to),
    ),
  unlink: (path: string) =>
    quick(
      () => fs.unlinkSync(path),
      () => promises.unlink(path),
    ),
  statfs: (path: string) =>
    quick(
      () => fs.statfsSync(path),
      () => promises.statfs(path),
    ),
}
