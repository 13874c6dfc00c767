import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs'
import { basename } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { OspError } from '../../errors.ts'
import { fixed, MiB } from '../../limits.ts'
import { checkArgument, checkOptions, type Kind, kinds, optional } from '../../options.ts'
import type { FileSource, OpenSource, TakeMemory, WholeContent } from '../../ports/source.ts'
import { systemErrorOf } from '../disk/faults.ts'
import { longBytes, quickCalls, quickly } from '../disk/quickCalls.ts'
import { type ReadSome, readUntilFull } from '../disk/readFull.ts'
import { absolutePath, pathBytes, pathOf, pathText } from './pathText.ts'
import { temporaryFile } from './temporaryFile.ts'

/** Options for a file to upload. */
export interface FileOptions {
  /** The name on the server; by default the last part of the path, in the Unicode form NFC. */
  readonly name?: string
  /** Whether the path was just seen to be a regular file, as with `Dirent.isFile()`. A small file is then read with fewer calls. */
  readonly isRegular?: boolean
}

const pathKind: Kind = {
  takes: 'a path, as a non-empty string or non-empty bytes, or a file: URL',
  holds: (value) => kinds.localPath.holds(value) || (value instanceof Uint8Array && value.length > 0),
}

/**
 * Returns a regular file of this machine as a source to upload. `path` is relative to the current working directory, or a `file:`
 * URL. A path that is not UTF-8 is given as bytes, or as encoded by `pathText`, and needs a `name`.
 */
export function file(path: string | URL | Uint8Array, options: FileOptions = {}): FileSource {
  checkArgument('file', 'the path', pathKind, path)
  checkOptions('file', optionKinds, options)
  const ref = absolutePath(path instanceof Uint8Array ? pathText(path) : pathOf('file', path))
  return new RegularFile(options.name ?? basename(ref).normalize('NFC'), ref, options.isRegular ?? false)
}

const optionKinds = { name: optional(kinds.text), isRegular: optional(kinds.flag) }

class RegularFile implements FileSource {
  readonly name: string
  readonly ref: string
  readonly #isRegular: boolean

  constructor(name: string, ref: string, isRegular: boolean) {
    this.name = name
    this.ref = ref
    this.#isRegular = isRegular
  }

  async open(signal: AbortSignal): Promise<OpenSource> {
    const { ref } = this
    signal.throwIfAborted()
    const refused = (error: unknown): never => {
      throw error instanceof OspError || signal.aborted ? error : unreadable(ref, error)
    }
    const handle = await openHandle(ref).catch(refused)
    try {
      return await openFile(ref, handle, signal)
    } catch (error) {
      await handle.close()
      return refused(error)
    }
  }

  readWhole(maxBytes: number, take: TakeMemory) {
    return readWhole(this.ref, this.#isRegular, maxBytes, take)
  }
}

/** Without O_NONBLOCK opening a named pipe would wait for a writer. */
const openFlags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)

/**
 * Reads a small regular file in one go. Returns, or resolves with, `undefined` if it is too large, was modified very recently, or
 * changes during the read; `open` then checks more carefully.
 */
function readWhole(path: string, isRegular: boolean, maxBytes: number, take: TakeMemory) {
  const inParts = () => readInParts(path, maxBytes, take)
  const read = quickly(() => readHere(path, isRegular, maxBytes), inParts)
  return read === 'long' ? inParts() : read
}

/** The content of the file that `readHere` is reading. */
const shared = Buffer.allocUnsafeSlow(longBytes)

function readHere(path: string, isRegular: boolean, maxBytes: number): WholeContent | 'long' | undefined {
  const startMs = Date.now()
  const fd = openSync(pathBytes(path), openFlags)
  try {
    // Reading from a named pipe or a device would take bytes from it.
    if (!isRegular && !fstatSync(fd).isFile()) return undefined
    const bytes = readSync(fd, shared, 0, longBytes, 0)
    const stats = fstatSync(fd)
    const { size, mtimeMs, ctimeMs } = stats
    // The last change was before the read began. With a ctime in the future this is unknown.
    if (ctimeMs > startMs || !isSettled(stats, maxBytes, startMs)) return undefined
    if (size >= longBytes) return 'long'
    if (bytes !== size) return undefined
    const content = Buffer.allocUnsafe(size)
    shared.copy(content, 0, 0, size)
    return { content, modifiedAt: modificationTime(mtimeMs) }
  } finally {
    closeSync(fd)
  }
}

async function readInParts(path: string, maxBytes: number, take: TakeMemory): Promise<WholeContent | undefined> {
  const fd = await quickCalls.open(pathBytes(path), openFlags)
  try {
    const stats = await quickCalls.fstatNumbers(fd)
    const { size } = stats
    if (!isSettled(stats, maxBytes)) return undefined
    const memory = await take(size + 1)
    const end = memory.length > size ? memory : new Uint8Array(1)
    const bytes = await quickCalls.read(fd, memory.subarray(0, size + 1), 0)
    const isWhole = bytes === size && (end === memory || (await quickCalls.read(fd, end, size)) === 0)
    return isWhole ? contentOf(memory, stats, await quickCalls.fstatNumbers(fd)) : undefined
  } finally {
    await quickCalls.close(fd)
  }
}

const isSettled = (stats: Stats, maxBytes: number, nowMs = Date.now()) =>
  stats.isFile() && stats.size <= maxBytes && settlingMs(stats.ctimeMs, nowMs) <= 0

/** Returns the content of a file, or `undefined` if the file has changed. */
function contentOf(memory: Uint8Array, before: Stats, after: Stats): WholeContent | undefined {
  const { size, mtimeMs, ctimeMs } = before
  // The ctime was at least 20 ms old, so a write since then changes it by more than the rounding error.
  if (after.size !== size || after.mtimeMs !== mtimeMs || after.ctimeMs !== ctimeMs) return undefined
  return { content: memory.subarray(0, size), modifiedAt: modificationTime(mtimeMs) }
}

/** An open file to read. */
interface Handle {
  stat(): BigIntStats | Promise<BigIntStats>
  readonly read: ReadSome
  close(): void | Promise<void>
}

async function openHandle(path: string): Promise<Handle> {
  const fd = await quickCalls.open(pathBytes(path), openFlags)
  return {
    stat: () => quickCalls.fstat(fd),
    read: (into, offset) => quickCalls.read(fd, into, offset),
    close: () => quickCalls.close(fd),
  }
}

async function openFile(path: string, handle: Handle, signal: AbortSignal): Promise<OpenSource> {
  const stats = await settledStats(path, handle, signal)
  // A file that is too large to send is not read at its end.
  if (stats.size > fixed.mostFileBytes || (await endsAt(handle, stats.size))) return openSource(path, handle, stats)
  // A growing file has another change time by now. Otherwise its reported size is meaningless.
  if (!same(stats, await handle.stat())) throw beingWritten(path)
  const copy = await copyOf(path, handle, signal)
  await handle.close()
  return copy
}

/**
 * The minimum age of a change time for which every later write changes it. The clock of most file systems advances
 * every 10 ms or faster; without fractions of a second it advances every 1 or 2 s.
 */
const [fineMs, coarseMs] = [20, 2_000]
/** The number of attempts at a file that is being written. */
const looks = 5

/** Resolves with the stats of a regular file when every later write will change its change time. */
async function settledStats(path: string, handle: Handle, signal: AbortSignal): Promise<BigIntStats> {
  for (let look = 0; look < looks; look++) {
    const stats = await handle.stat()
    if (!stats.isFile()) throw new OspError('source-unreadable', `${path} is not a regular file; specify a file`)
    signal.throwIfAborted()
    const waitMs = settlingMs(millisecondsOf(stats.ctimeNs))
    if (waitMs <= 0) return stats
    await setTimeout(waitMs, undefined, { signal })
  }
  throw beingWritten(path)
}

/** Returns how long to wait, in ms, until any later write is certain to change the ctime; 0 or less if no wait is needed. */
function settlingMs(ctimeMs: number, nowMs = Date.now()): number {
  const ageMs = nowMs - Math.floor(ctimeMs)
  return ageMs < 0 ? 0 : (ctimeMs % 1_000 === 0 ? coarseMs : fineMs) - ageMs
}

/** Converts a time as Node does for the stats of a file in numbers, so that both ways give the same modification time. */
const millisecondsOf = (ns: bigint) => Number(ns / 1_000_000_000n) * 1_000 + Number(ns % 1_000_000_000n) / 1_000_000

const modificationTime = (mtimeMs: number) => Math.max(0, Math.floor(mtimeMs))

/** Returns whether the file ends where its size says. Kernel files often do not. */
async function endsAt(handle: Handle, size: bigint): Promise<boolean> {
  const last = size > 0n ? 1 : 0
  return (await handle.read(Buffer.alloc(2), Number(size) - last)) === last
}

/** Copies a file of unknown size, read to its end. The content can differ at each reading, so it is read once. */
async function copyOf(path: string, { stat, read }: Handle, signal: AbortSignal): Promise<OpenSource> {
  async function* content() {
    const buffer = Buffer.allocUnsafe(MiB)
    for (let offset = 0; ; ) {
      signal.throwIfAborted()
      const bytes = await read(buffer, offset)
      if (bytes === 0) return
      offset += bytes
      yield buffer.subarray(0, bytes)
    }
  }
  const copy = await temporaryFile(path, content(), 'send a copy of it')
  try {
    return openSource(path, { stat, ...copy }, await stat(), copy.size)
  } catch (error) {
    await copy.close()
    throw error
  }
}

/** `stats` are those of the source. `handle` is open on the source, or on a copy of `copiedBytes`. */
function openSource(path: string, handle: Handle, stats: BigIntStats, copiedBytes?: number): OpenSource {
  const failed = (error: unknown): never => {
    throw unreadable(path, error)
  }
  return {
    size: copiedBytes ?? Number(stats.size),
    modifiedAt: modificationTime(millisecondsOf(stats.mtimeNs)),
    ...(copiedBytes === undefined && { identity: identityOf(stats) }),
    read: (into, offset) => readUntilFull(handle.read, into, offset).catch(failed),
    async unchanged() {
      if (copiedBytes !== undefined) return true
      // The path may lead to another file by now, while the handle still refers to the old one.
      const looks = async () => [await handle.stat(), await quickCalls.stat(pathBytes(path))]
      return (await looks().catch(failed)).every((found) => same(found, stats))
    },
    [Symbol.asyncDispose]: async () => handle.close(),
  }
}

const identityOf = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats) => [dev, ino, size, mtimeNs, ctimeNs].join(' ')

/** The change time also shows that a program has reset the modification time. No program can set the change time. */
function same(a: BigIntStats, b: BigIntStats): boolean {
  return identityOf(a) === identityOf(b)
}

const beingWritten = (path: string) =>
  new OspError('source-changed', `${path} is being modified; retry when no program is writing to it`)

const textOf = (cause: unknown) => (cause as NodeJS.ErrnoException).code ?? (cause as Error).message

function unreadable(path: string, cause: unknown): OspError {
  const { code } = cause as NodeJS.ErrnoException
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new OspError('source-missing', `${path} does not exist; check the path`, { cause })
  }
  if (code === 'EACCES' || code === 'EPERM') {
    const text = `${path} cannot be read: permission denied; change its permissions, or run as its owner`
    return new OspError('source-unreadable', text, { cause })
  }
  const known = systemErrorOf(cause)
  const text = known ? `${known.text} (${code})` : textOf(cause)
  // File descriptors become available again when other files are closed.
  const passes = known?.code === 'overloaded'
  return new OspError(passes ? 'overloaded' : 'source-unreadable', `${path} cannot be read: ${text}`, { cause })
}
