import { type ErrorCode, OspError } from '../../errors.ts'
import { isStoredFileName } from '../../names.ts'
import type { Platform } from '../../ports/platform.ts'
import type { Claim, OnConflict, PartialFile, Storage, StoredFile } from '../../ports/storage.ts'
import { digestOf } from '../../runtime/digestOf.ts'
import { hex } from '../../runtime/hex.ts'
import type { Connection } from '../app.ts'
import type { ServerEntry, ServerLog } from '../logEvents.ts'
import { linkOf } from '../serverLog.ts'

/** The highest number in a name where existing files are kept by renaming. */
const mostNumber = 1_000_000

/** What an upload that was verified can end with for good: record and bytes are removed. */
const removing: readonly ErrorCode[] = ['file-exists', 'digest-mismatch']

export interface PublishOptions {
  readonly storage: Pick<Storage, 'transfers' | 'files'>
  readonly onConflict: OnConflict
  readonly noteMs: number
  readonly log: ServerLog
}

/** A verified, flushed upload. */
export interface Verified {
  readonly claim: Claim
  readonly partial: PartialFile
  /** Where `begun`, as the record has it. */
  readonly file: StoredFile
  /** It was marked as verified before, and this goes on with what was interrupted. */
  readonly begun: boolean
  /** Whose request that is, if it is a client's. */
  readonly by?: Connection | undefined
  /** The file counts among the published ones of its user from here on. */
  readonly published?: () => void
}

export interface RollOptions extends PublishOptions {
  readonly platform: Pick<Platform, 'digests'>
}

/**
 * Brings a verified, flushed upload to its end: the record is marked as verified under the name that it gets, the file
 * is moved there, the record becomes a note, the log has a line. Every step may be done again after a crash.
 * Rejects with OspError `file-exists` where existing names are refused; record and partial file are the caller's to remove then.
 */
export async function publish(
  { storage, onConflict, noteMs, log }: PublishOptions,
  { claim, partial, file, begun, by, published }: Verified,
): Promise<StoredFile> {
  const isTaken = (name: string) => storage.files.stored(file.user, name)
  for await (const storedName of candidates(file, onConflict, begun, isTaken)) {
    const again = begun && storedName === file.storedName
    // Looking first saves a durable write for each name that is taken anyway; publishing has the last word.
    const replaced = again ? file.replaced : await storage.files.stored(file.user, storedName)
    const candidate = { ...file, storedName, replaced }
    if (replaced && onConflict !== 'replace') continue
    if (!again) await storage.transfers.verified(claim, candidate)
    if (!(await take(partial, storedName, onConflict))) continue
    published?.()
    await storage.transfers.complete(claim, noteMs)
    log(storedLine(candidate, by))
    return candidate
  }
  if (onConflict === 'reject')
    throw new OspError('file-exists', `a file named ${JSON.stringify(file.name)} is already stored`)
  throw new OspError('name-conflict', `no free name was found for ${JSON.stringify(file.name)}`)
}

/** Returns the log entry of a stored file. */
export function storedLine({ name, storedName, replaced, ...file }: StoredFile, by?: Connection): ServerEntry {
  const renamed = storedName === name ? {} : { storedName }
  const { user, size, algorithm, digest } = file
  const line = { user, ...(by && linkOf(by)), name, ...renamed, ...(replaced && { replaced }), size, algorithm, digest }
  return { level: 'info', event: 'upload-stored', ...line }
}

/** Whether the file lies under this name now. Where files are kept under other names, one with no room is as good as taken. */
async function take(partial: PartialFile, storedName: string, onConflict: OnConflict): Promise<boolean> {
  try {
    return await partial.publish(storedName, onConflict === 'replace')
  } catch (error) {
    if (onConflict !== 'rename' || OspError.from(error).code !== 'name-conflict') throw error
    return false
  }
}

/**
 * Finishes an upload whose record is marked as verified already: what a crash, or a fault of the disk, interrupted. Where
 * existing names are refused and the name was taken meanwhile, the upload ends with OspError `file-exists`; where its bytes
 * are not those that were verified, with `digest-mismatch`, so that its client begins anew.
 */
export async function rollForward(
  options: RollOptions,
  claim: Claim,
  file: StoredFile,
  by?: Connection,
): Promise<StoredFile> {
  const { transfers, files } = options.storage
  const partial = await files.open(claim)
  try {
    await checkIntact(options.platform, partial, file)
    return await publish(options, { claim, partial, file, begun: true, by })
  } catch (error) {
    const { code, message: text } = OspError.from(error)
    const { user, name } = claim
    if (code === 'digest-mismatch') options.log({ level: 'error', event: 'upload-damaged', user, name, text })
    if (removing.includes(code)) {
      await transfers.remove(claim.user, claim.name)
      await files.remove(claim.user, claim.name)
    }
    throw error
  } finally {
    await partial[Symbol.asyncDispose]()
  }
}

/** Checks the bytes that an earlier process verified. A partial file that is missing is left to publishing. */
async function checkIntact(
  { digests }: RollOptions['platform'],
  partial: PartialFile,
  file: StoredFile,
): Promise<void> {
  if (partial.length === 0) return
  const { size, algorithm } = file
  const digest =
    partial.length === size && (await digestOf(digests, algorithm, size, (into, at) => partial.read(into, at)))
  if (digest && hex(digest) === file.digest) return
  const text = 'the partial file was damaged after it had been verified: its upload begins anew'
  throw new OspError('digest-mismatch', text, { progress: 0 })
}

/** The names to try, the next one where the one before could not be used. */
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
  for (let least = 1; least <= mostNumber; ) {
    const number = await freeNumber(least, (at) => isTaken(numbered(at)))
    if (!isStoredFileName(numbered(number))) return
    yield numbered(number)
    // Doubled, since a row of folders may have these names, which only publishing finds out.
    least = 2 * number
  }
}

/** Returns a free number from `least` on, after few looks: the first one if the taken numbers have no gap. */
async function freeNumber(least: number, isTaken: (number: number) => Promise<boolean>): Promise<number> {
  let [taken, free] = [least - 1, least]
  while (free <= mostNumber && (await isTaken(free))) [taken, free] = [free, 2 * free]
  while (free - taken > 1) {
    const middle = Math.floor((taken + free) / 2)
    if (await isTaken(middle)) taken = middle
    else free = middle
  }
  return free
}
