import { OspError } from '../errors.ts'
import { fileName } from '../names.ts'
import type { Claim, OnConflict, PartialFile, Storage, StoredFile } from '../ports/storage.ts'

/** How many other names are tried where existing files are kept by renaming. */
const mostNames = 10_000

export interface PublishOptions {
  readonly storage: Pick<Storage, 'transfers' | 'files'>
  readonly onConflict: OnConflict
  readonly noteMs: number
}

/**
 * Brings a verified, flushed upload to its end: the record is marked as verified under the name that it gets, the file
 * is moved there, the record becomes a note. Every step may be done again after a crash; `file` is then the record's.
 * Rejects with OspError `file-exists` where existing names are refused; record and partial file are the caller's to remove then.
 */
export async function publish(
  { storage, onConflict, noteMs }: PublishOptions,
  claim: Claim,
  partial: PartialFile,
  file: StoredFile,
  begun: boolean,
): Promise<StoredFile> {
  for (const storedName of candidates(file, onConflict, begun)) {
    const candidate = { ...file, storedName }
    const again = begun && storedName === file.storedName
    // Looking first saves a durable write for each name that is taken anyway; publishing has the last word.
    if (!again && onConflict !== 'replace' && (await storage.files.stored(file.user, storedName))) continue
    if (!again) await storage.transfers.verified(claim, candidate)
    if (!(await take(partial, storedName, onConflict))) continue
    await storage.transfers.complete(claim, noteMs)
    return candidate
  }
  if (onConflict === 'reject')
    throw new OspError('file-exists', `a file named ${JSON.stringify(file.name)} is already stored`)
  throw new OspError('name-conflict', `no free name was found for ${JSON.stringify(file.name)}`)
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
 * existing names are refused and the name was taken meanwhile, the upload ends with OspError `file-exists`.
 */
export async function rollForward(options: PublishOptions, claim: Claim, file: StoredFile): Promise<StoredFile> {
  const { transfers, files } = options.storage
  const partial = await files.open(claim)
  try {
    return await publish(options, claim, partial, file, true)
  } catch (error) {
    if (OspError.from(error).code === 'file-exists') {
      await transfers.remove(claim.user, claim.name)
      await files.remove(claim.user, claim.name)
    }
    throw error
  } finally {
    await partial[Symbol.asyncDispose]()
  }
}

function* candidates(file: StoredFile, onConflict: OnConflict, begun: boolean): Generator<string> {
  if (begun) yield file.storedName
  yield file.name
  if (onConflict !== 'rename') return
  const slash = file.name.lastIndexOf('/') + 1
  const dot = file.name.lastIndexOf('.')
  const stemEnd = dot > slash ? dot : file.name.length
  for (let number = 1; number <= mostNames; number++) {
    const name = `${file.name.slice(0, stemEnd)} (${number})${file.name.slice(stemEnd)}`
    if (!fileName.safeParse(name).success) return
    yield name
  }
}
