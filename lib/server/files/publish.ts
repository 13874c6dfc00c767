import { type ErrorCode, OspError } from '../../errors.ts'
import { isStoredFileName } from '../../names.ts'
import type { Claim, OnConflict, PartialFile, Storage, StoredFile, TransferRecord } from '../../ports/storage.ts'
import { hex } from '../../runtime/hex.ts'
import { digestOf } from '../../runtime/incrementalDigest.ts'
import type { Connection, ServerContext } from '../app.ts'
import type { ServerEntry } from '../logEvents.ts'
import { linkOf } from '../serverLog.ts'

/** The highest number that a name gets if existing files are kept. */
const maxNumber = 1_000_000

/** Errors that end a verified upload: its record and its partial file are removed. */
const finalErrors: readonly ErrorCode[] = ['file-exists', 'digest-mismatch']

/** A verified file. */
interface Verified {
  readonly partial: Pick<PartialFile, 'publish'>
  /** If `begun`, as in the record. */
  readonly file: StoredFile
  /** The record was marked as verified before, and publishing was interrupted. */
  readonly begun?: boolean
  /** The client whose request this is, if any. */
  readonly by?: Connection | undefined
  /** Records the name under which the file is published next. When it resolves, the partial file is durable too. */
  mark(file: StoredFile): Promise<void>
  /** Called when the file is in its place. */
  published(): Promise<void> | void
}

/**
 * Publishes a verified file: marks it under the final name, moves it there, and logs it. Rejects with OspError `file-exists` if
 * `onConflict` is `reject` and the name is taken.
 */
export async function publish(
  { storage, onConflict, log }: ServerContext,
  { partial, file, begun = false, by, mark, published }: Verified,
): Promise<StoredFile> {
  const isTaken = (name: string) => storage.files.stored(file.user, name)
  for await (const storedName of candidates(file, onConflict, begun, isTaken)) {
    const again = begun && storedName === file.storedName
    // This check saves a durable write for each name that is taken. Only publishing decides.
    const replaced = again ? file.replaced : await storage.files.stored(file.user, storedName)
    const candidate = { ...file, storedName, replaced }
    if (replaced && onConflict !== 'replace') continue
    if (!again) await mark(candidate)
    if (!(await take(partial, storedName, onConflict))) continue
    await published()
    log(storedLine(candidate, by))
    return candidate
  }
  if (onConflict === 'reject') throw fileExists(file.name)
  throw new OspError('name-conflict', `no free name was found for ${JSON.stringify(file.name)}`)
}

/**
 * Publishes a verified, flushed upload: its record is marked as verified under the final name before the file is moved there, and
 * becomes a completion marker afterwards. Each step can be repeated after a crash. Rejects as `publish` does; the caller then
 * removes the record and the partial file.
 */
export function publishUpload(
  context: ServerContext,
  claim: Claim,
  upload: Pick<Verified, 'partial' | 'file' | 'begun' | 'by'> & { published?(): void },
): Promise<StoredFile> {
  const { transfers } = context.storage
  return publish(context, {
    ...upload,
    mark: (file) => transfers.verified(claim, file),
    published() {
      upload.published?.()
      return transfers.complete(claim, context.limits.noteMs)
    },
  })
}

/** Returns the error for an upload whose name is taken. */
export function fileExists(name: string): OspError {
  return new OspError('file-exists', `a file named ${JSON.stringify(name)} is already stored`)
}

/** Returns the fields of a reply that describe a stored file. */
export function storedFields({ storedName, replaced }: StoredFile) {
  return { storedName, replaced: replaced ? 1 : 0 }
}

/** Returns the log entry of a stored file. */
export function storedLine({ name, storedName, replaced, ...file }: StoredFile, by?: Connection): ServerEntry {
  const { user, size, algorithm, digest } = file
  const optional = { ...(storedName !== name && { storedName }), ...(replaced && { replaced }) }
  const fields = { user, ...(by && linkOf(by)), name, ...optional, size, algorithm, digest }
  return { level: 'info', event: 'upload-stored', ...fields }
}

/** Moves the file to this name. Resolves with false if the name is taken or, with `rename`, cannot be used. */
async function take(partial: Verified['partial'], storedName: string, onConflict: OnConflict): Promise<boolean> {
  try {
    return await partial.publish(storedName, onConflict === 'replace')
  } catch (error) {
    if (onConflict !== 'rename' || OspError.from(error).code !== 'name-conflict') throw error
    return false
  }
}

/**
 * Publishes an upload whose record is marked as verified, after a crash or a fault of the disk. Removes the upload and rejects
 * with OspError `file-exists` if `onConflict` is `reject` and the name was taken meanwhile, or with `digest-mismatch` if its
 * bytes have changed since, so that its client starts again.
 */
export async function rollForward(
  context: ServerContext,
  claim: Claim,
  file: StoredFile,
  by?: Connection,
): Promise<StoredFile> {
  const { storage, log } = context
  const partial = await storage.files.open(claim)
  try {
    await checkIntact(context, partial, file)
    return await publishUpload(context, claim, { partial, file, begun: true, by })
  } catch (error) {
    const { code, message: text } = OspError.from(error)
    const { user, name } = claim
    if (code === 'digest-mismatch') log({ level: 'error', event: 'upload-damaged', user, name, text })
    if (finalErrors.includes(code)) await removeUpload(storage, claim)
    throw error
  } finally {
    await partial[Symbol.asyncDispose]()
  }
}

/** Claims a verified upload and publishes it as `rollForward` does. Resolves with `undefined` if it is already published. */
export async function finishVerified(
  context: ServerContext,
  record: TransferRecord,
  by?: Connection,
): Promise<StoredFile | undefined> {
  const { storage, onConflict, age } = context
  const how = { fresh: false, takeOver: false, onConflict, at: age.now() }
  const claimed = await storage.transfers.claim(record, record.owner, how)
  if ('completed' in claimed || !record.verified) return undefined
  return rollForward(context, claimed.claim, record.verified, by)
}

/** Removes the record and the partial file of an upload. */
export async function removeUpload({ transfers, files }: Storage, of: Pick<Claim, 'user' | 'name'>): Promise<void> {
  await transfers.remove(of.user, of.name)
  await files.remove(of.user, of.name)
}

/** Checks the bytes that an earlier process verified. Publishing handles a missing partial file. */
async function checkIntact({ platform }: ServerContext, partial: PartialFile, file: StoredFile): Promise<void> {
  if (partial.length === 0) return
  const { size, algorithm } = file
  const read: PartialFile['read'] = (into, at) => partial.read(into, at)
  const digest = partial.length === size && (await digestOf(platform.digests, algorithm, size, read))
  if (digest && hex(digest) === file.digest) return
  const text = 'the partial file was damaged after its verification; the upload starts again'
  throw new OspError('digest-mismatch', text, { progress: 0 })
}

/** Yields the names to try, each after the one before could not be used. */
async function* candidates(
  file: StoredFile,
  onConflict: OnConflict,
  begun: boolean,
  isTaken: (name: string) => Promise<boolean>,
): AsyncGenerator<string> {
  if (begun) yield file.storedName
  yield file.name
  if (onConflict !== 'rename') return
  const slash = file.name.lastIndexOf('/') + 1
  const dot = file.name.lastIndexOf('.')
  const stemEnd = dot > slash ? dot : file.name.length
  const numbered = (number: number) => `${file.name.slice(0, stemEnd)} (${number})${file.name.slice(stemEnd)}`
  for (let least = 1; least <= maxNumber; ) {
    const number = await freeNumber(least, (at) => isTaken(numbered(at)))
    if (!isStoredFileName(numbered(number))) return
    yield numbered(number)
    // Doubled, since many folders may have these names, which only publishing detects.
    least = 2 * number
  }
}

/** Returns a free number, at least `least`, after few checks. It is the lowest one if the taken numbers have no gap. */
async function freeNumber(least: number, isTaken: (number: number) => Promise<boolean>): Promise<number> {
  let [taken, free] = [least - 1, least]
  while (free <= maxNumber && (await isTaken(free))) [taken, free] = [free, 2 * free]
  while (free - taken > 1) {
    const middle = Math.floor((taken + free) / 2)
    if (await isTaken(middle)) taken = middle
    else free = middle
  }
  return free
}
