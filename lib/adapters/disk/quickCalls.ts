import fs, { type BigIntStats } from 'node:fs'
import promises from 'node:fs/promises'
import { promisify } from 'node:util'
import { KiB } from '../../limits.ts'
import { lengthOf } from '../../wire/codec.ts'

/*
 * File system calls that the system usually answers from memory, in microseconds. They run in this thread, because a call in
 * another thread takes twenty times as long. On a slow file system, such as a network file system, they run in other threads.
 */

/** Defines when calls are slow. */
interface SlowCalls {
  /** Calls are slow if they take longer than this on average. */
  readonly slowMs: number
  /** The weight of the latest call in the average. */
  readonly latestShare: number
  /** A longer call counts as this long, since another process may have run during the call. */
  readonly longestMs: number
}

/** Bounds of the time for which calls run in other threads after they were slow. It doubles if they soon are slow again. */
const [leastElsewhereMs, mostElsewhereMs] = [5_000, 320_000]

/** The open(2) flag for writes that are durable when they return, which is faster than a write and a flush; 0 outside Linux. */
export const durableWrites = process.platform === 'linux' ? fs.constants.O_DSYNC : 0

/** Longer reads and writes take more time than handing them to another thread. */
export const longBytes = 64 * KiB

/** Measures the calls in this thread, and decides where the next ones run. */
class CallTimer {
  readonly #slow: SlowCalls
  #averageMs = 0
  #elsewhereUntilMs = Number.NEGATIVE_INFINITY
  #elsewhereMs = leastElsewhereMs

  constructor(slow: SlowCalls) {
    this.#slow = slow
  }

  readonly quick = <T, E = T>(here: () => T, elsewhere: () => Promise<E>): T | Promise<E> => {
    const start = performance.now()
    if (start < this.#elsewhereUntilMs) return elsewhere()
    try {
      return here()
    } finally {
      const end = performance.now()
      const { slowMs, latestShare, longestMs } = this.#slow
      this.#averageMs += latestShare * (Math.min(end - start, longestMs) - this.#averageMs)
      if (this.#averageMs > slowMs) {
        this.#averageMs = 0
        const isSoon = end - this.#elsewhereUntilMs < this.#elsewhereMs
        this.#elsewhereMs = isSoon ? Math.min(2 * this.#elsewhereMs, mostElsewhereMs) : leastElsewhereMs
        this.#elsewhereUntilMs = end + this.#elsewhereMs
      }
    }
  }
}

const { quick } = new CallTimer({ slowMs: 0.5, latestShare: 1 / 50, longestMs: 5 })
/**
 * Four calls in a row that wait for the device mark the calls as slow. A lower threshold would also be reached when another process
 * is scheduled during a call.
 */
const { quick: quickFlush } = new CallTimer({ slowMs: 0.2, latestShare: 1 / 16, longestMs: 1 })

const big = { bigint: true } as const
const quietly = { ...big, throwIfNoEntry: false } as const
const missing = (error: NodeJS.ErrnoException): undefined => {
  if (error.code !== 'ENOENT') throw error
}
const fstat = promisify(fs.fstat)
const open = promisify(fs.open) as (path: fs.PathLike, flags: number, mode?: number) => Promise<number>
const read = promisify(fs.read) as (
  fd: number,
  into: Uint8Array,
  options: fs.ReadSyncOptions,
) => Promise<{ bytesRead: number }>
const writev = promisify(fs.writev) as (
  fd: number,
  parts: readonly Uint8Array[],
  position?: number,
) => Promise<{ bytesWritten: number }>
const close = promisify(fs.close)
const fsync = promisify(fs.fsync)

/** open(2) flags that create a new file, with durable writes where the platform has O_DSYNC. */
export const newFileFlags = fs.constants.O_CREAT | fs.constants.O_EXCL | fs.constants.O_WRONLY | durableWrites

function createHere(path: string, content: readonly Uint8Array[], modified: number | undefined): BigIntStats {
  const fd = fs.openSync(path, newFileFlags, 0o600)
  try {
    let at = 0
    for (const part of content) {
      for (let done = 0; done < part.length; ) {
        const written = fs.writeSync(fd, part, done, part.length - done, at)
        if (written === 0) throw new Error('the file system wrote no bytes')
        done += written
        at += written
      }
    }
    if (modified !== undefined) fs.futimesSync(fd, modified, modified)
    return fs.fstatSync(fd, big)
  } finally {
    fs.closeSync(fd)
  }
}

/** Runs several of these calls: `here` in this thread, or `elsewhere`. */
export const quickly = quick

/** Each of these does what the function of that name in node:fs does, unless its comment says otherwise. */
export const quickCalls = {
  /** Returns `undefined` if nothing exists at this path. */
  lstat: (path: fs.PathLike) =>
    quick(
      () => fs.lstatSync(path, quietly),
      () => promises.lstat(path, big).catch(missing),
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
  /** Like `fstat`, with fewer objects. Times are rounded to a quarter of a microsecond. */
  fstatNumbers: (fd: number) =>
    quick(
      () => fs.fstatSync(fd),
      () => fstat(fd),
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
  /**
   * Writes to a file that was opened with `durableWrites`. The write is durable if that flag is not 0. Without a position it
   * appends. Returns the number of bytes. Long writes run in another thread.
   */
  write: (fd: number, parts: readonly Uint8Array[], position?: number) => {
    const elsewhere = async () => (await writev(fd, parts, position)).bytesWritten
    const isLong = lengthOf(parts) > longBytes
    return isLong ? elsewhere() : quickFlush(() => fs.writevSync(fd, parts, position), elsewhere)
  },
  /** Flushes a file or directory (fsync). */
  fsync: (fd: number) =>
    quickFlush(
      () => fs.fsyncSync(fd),
      () => fsync(fd),
    ),
  /**
   * Creates a file with this content, durably except for its name, and with this modification time in seconds. Returns its stats.
   * Calls `elsewhere` if the content is long or the platform has no O_DSYNC.
   */
  create: (
    path: string,
    content: readonly Uint8Array[],
    modified: number | undefined,
    elsewhere: () => Promise<BigIntStats>,
  ) => {
    const mustRunElsewhere = durableWrites === 0 || lengthOf(content) > longBytes
    return mustRunElsewhere ? elsewhere() : quickFlush(() => createHere(path, content, modified), elsewhere)
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
