import { type ErrorCode, OspError } from '../../errors.ts'
import { isStoredFileName } from '../../names.ts'
import type {
  Claim,
  OnConflict,
  PartialFile,
  Storage,
  StoredFile,
  TransferRecord,
  VersionedFile,
} from '../../ports/storage.ts'
import { hex } from '../../runtime/hex.ts'
import { digestOf } from '../../runtime/incrementalDigest.ts'
import { type MaybePromise, settleAll, single } from '../../runtime/settled.ts'
import type { Connection, ServerContext } from '../app.ts'
import type { ServerEntry } from '../logEvents.ts'
import { linkOf } from '../serverLog.ts'
import { storedAll } from './batchCalls.ts'
import type { ClaimedRecord } from './transfer.ts'

/** The highest number that a name gets if existing files are kept. */
const maxNumber = 1_000_000

const finalErrors: readonly ErrorCode[] = ['file-exists', 'digest-mismatch']

/** Returns whether an error has ended a verified upload: its record and its partial file were removed. */
export const endsUpload = (error: unknown): boolean => finalErrors.includes(OspError.from(error).code)

/** A verified file under the name that is tried next. */
export interface PlacedFile {
  /** The index of the file among those that are published together. */
  readonly index: number
  readonly file: StoredFile
}

/** Verified files that are published together. Each call has one result for each file. */
interface VerifiedFiles {
  /** If `begun`, as in the record. */
  readonly files: readonly StoredFile[]
  /** `NewTransfer.storeAs` of each. */
  readonly storeAs: readonly (string | undefined)[]
  /** The records were marked as verified before, and publishing was interrupted. */
  readonly begun?: boolean
  /** The client whose request this is, if any. */
  readonly by?: Connection | undefined
  /** Records the names under which files are published next. When it resolves, the partial files are durable too. */
  mark(tried: readonly PlacedFile[]): MaybePromise<readonly (Error | undefined)[]>
  /** Moves files to their places, as `PartialFile.publish` does. */
  move(tried: readonly PlacedFile[], replace: boolean): MaybePromise<readonly (boolean | Error)[]>
  /** Called once for each published file. Resolves with its version, if it is known. */
  published?(): Promise<string | undefined>
}

/** A file that is not published yet. */
interface Attempt {
  readonly index: number
  readonly file: StoredFile
  /** The name under which it is to be stored. */
  readonly name: string
  isTried: boolean
  /** The remaining candidate names, after the first. */
  names?: AsyncIterator<string>
}

/**
 * Publishes verified files of one user: marks them under their final names, moves them there, and logs them. Resolves with each
 * stored file or its error, which is OspError `file-exists` if `onConflict` is `reject` and the name is taken.
 */
export async function publish(
  context: ServerContext,
  verified: VerifiedFiles,
): Promise<readonly (VersionedFile | Error)[]> {
  const results: (VersionedFile | Error)[] = []
  let attempts: readonly Attempt[] = verified.files.map((file, index) => ({
    ...{ index, file, isTried: false },
    name: verified.storeAs[index] ?? file.name,
  }))
  while (attempts.length > 0) {
    const outcomes = await tryNext(context, verified, attempts)
    const left: Attempt[] = []
    attempts.forEach((attempt, at) => {
      const outcome = outcomes[at]
      if (outcome) results[attempt.index] = outcome
      else left.push(attempt)
    })
    attempts = left
  }
  return results
}

/** Tries the next name of each file. Resolves with each stored file, its error, or `undefined` if the name is taken. */
async function tryNext(
  context: ServerContext,
  verified: VerifiedFiles,
  attempts: readonly Attempt[],
): Promise<readonly (VersionedFile | Error | undefined)[]> {
  const { onConflict, log } = context
  const outcomes: (VersionedFile | Error | undefined)[] = await nextNames(context, verified, attempts)
  /** Performs a step for the files that have not failed. */
  const step = async <R>(
    perform: (tried: readonly PlacedFile[]) => MaybePromise<readonly R[]>,
    end: (file: StoredFile, result: R | undefined) => VersionedFile | Error | undefined,
  ) => {
    const places: number[] = []
    const tried: PlacedFile[] = []
    outcomes.forEach((file, at) => {
      if (!file || file instanceof Error) return
      places.push(at)
      tried.push({ index: attempts[at]?.index ?? 0, file })
    })
    const results = tried.length > 0 ? await perform(tried) : []
    tried.forEach(({ file }, index) => {
      outcomes[places[index] ?? 0] = end(file, results[index])
    })
  }
  await step(
    (tried) => verified.mark(tried),
    (file, error) => error ?? file,
  )
  await step(
    (tried) => verified.move(tried, onConflict === 'replace'),
    (file, result) => {
      if (!(result instanceof Error)) return result ? file : undefined
      const isUnusable = onConflict === 'rename' && OspError.from(result).code === 'name-conflict'
      return isUnusable ? undefined : result
    },
  )
  await step(
    (tried) => settleAll(tried, () => verified.published?.()),
    (file, version) => {
      if (version instanceof Error) return version
      log(storedLine(file, verified.by))
      return version === undefined ? file : { ...file, version }
    },
  )
  return outcomes
}

/** Resolves with each file under its next name, or its error if there is none, or `undefined` if the name is taken. */
async function nextNames(
  { storage, onConflict }: ServerContext,
  { begun = false }: VerifiedFiles,
  attempts: readonly Attempt[],
): Promise<(StoredFile | Error | undefined)[]> {
  const user = attempts[0]?.file.user ?? ''
  const isTaken = (name: string) => storage.files.stored(user, name)
  const names = await settleAll(attempts, (attempt) => {
    const { file, name } = attempt
    if (attempt.isTried) {
      attempt.names ??= candidates(name, onConflict, begun, isTaken)
      return nextName(attempt.names, name, onConflict)
    }
    attempt.isTried = true
    return begun ? file.storedName : name
  })
  const isMarked = (at: number) => begun && names[at] === attempts[at]?.file.storedName
  // This check saves a durable write for each name that is taken. Only publishing decides.
  const known = names.filter((name, at) => typeof name === 'string' && !isMarked(at)) as string[]
  const taken = await storedAll(storage.files, user, known)
  let next = 0
  return attempts.map(({ file }, at) => {
    const storedName = names[at]
    if (typeof storedName !== 'string') return storedName
    const replaced = isMarked(at) ? file.replaced : (taken[next++] ?? false)
    if (replaced instanceof Error) return replaced
    if (replaced && onConflict !== 'replace') return undefined
    const isSame = file.storedName === storedName && file.replaced === replaced
    return isSame ? file : { ...file, storedName, replaced }
  })
}

/** Resolves with the name to try after `name`. */
async function nextName(names: AsyncIterator<string>, name: string, onConflict: OnConflict): Promise<string> {
  const next = await names.next()
  if (!next.done) return next.value
  if (onConflict === 'reject') throw fileExists(name)
  throw new OspError(
    'name-conflict',
    `no free name was found for ${JSON.stringify(name)}; send the file under another name`,
  )
}

/** A verified upload. */
interface VerifiedUpload extends Pick<VerifiedFiles, 'begun' | 'by'> {
  readonly partial: PartialFile
  readonly file: StoredFile
  /** As in `NewTransfer`. */
  readonly storeAs: string | undefined
  /** Called when the file is in its place. */
  published?(): void
}

/**
 * Publishes a verified, flushed upload: its record is marked as verified under the final name before the file is moved there, and
 * becomes a completion marker afterwards. Each step can be repeated after a crash. Rejects as `publish` does; the caller then
 * removes the record and the partial file.
 */
export async function publishUpload(
  context: ServerContext,
  claim: Claim,
  { partial, file, storeAs, published, ...how }: VerifiedUpload,
): Promise<VersionedFile> {
  const { transfers } = context.storage
  const results = await publish(context, {
    ...how,
    files: [file],
    storeAs: [storeAs],
    mark: (tried) =>
      settleAll(tried, async ({ file: candidate }) => {
        const isMarked = how.begun && candidate.storedName === file.storedName
        if (!isMarked) await transfers.verified(claim, candidate)
        return undefined
      }),
    move: (tried, replace) => settleAll(tried, ({ file: { storedName } }) => partial.publish(storedName, replace)),
    published() {
      published?.()
      return transfers.complete(claim, context.limits.noteMs)
    },
  })
  return single(results)
}

/** Returns the error for an upload whose name is taken. */
export function fileExists(name: string): OspError {
  return new OspError('file-exists', `a file named ${JSON.stringify(name)} is already stored`)
}

/** Returns the fields of a reply that describe a stored file. */
export function storedFields({ storedName, replaced }: StoredFile) {
  return { storedName, replaced: replaced ? 1 : 0 }
}

/** Returns the log entry of a stored file. `recovered`: an earlier entry about it may exist. */
export function storedLine(file: StoredFile, by?: Connection, recovered = false): ServerEntry {
  const { user, name, storedName, replaced, size, algorithm, digest } = file
  const optional = { ...(storedName !== name && { storedName }), ...(replaced && { replaced }) }
  const fields = {
    user,
    ...(by && linkOf(by)),
    name,
    ...optional,
    size,
    algorithm,
    digest,
    ...(recovered && { recovered }),
  }
  return { level: 'info', event: 'upload-stored', ...fields }
}

/**
 * Publishes an upload whose record is marked as verified, after a crash or a fault of the disk. Removes the upload and rejects
 * with OspError `file-exists` if `onConflict` is `reject` and the name was taken meanwhile, or with `digest-mismatch` if its
 * bytes have changed since, so that its client starts again.
 */
async function rollForward(
  context: ServerContext,
  claim: Claim,
  { storeAs }: TransferRecord,
  file: StoredFile,
  by?: Connection,
): Promise<VersionedFile> {
  const { storage, log } = context
  const partial = await storage.files.open(claim)
  try {
    await checkIntact(context, partial, file)
    return await publishUpload(context, claim, { partial, file, storeAs, begun: true, by })
  } catch (error) {
    const { code, message: text } = OspError.from(error)
    const { user, name } = claim
    if (!endsUpload(error)) throw error
    // Another server may have taken over the upload and published its file.
    if (!(await removeUpload(storage, claim))) throw new OspError('superseded')
    if (code === 'digest-mismatch') log({ level: 'error', event: 'upload-damaged', user, name, text })
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
): Promise<VersionedFile | undefined> {
  const { storage, onConflict, age } = context
  const how = { fresh: false, takeOver: false, onConflict, at: age.now(), recovery: true }
  const claimed = await storage.transfers.claim(record, record.owner, how)
  return 'completed' in claimed ? undefined : finishClaimed(context, claimed, by)
}

/**
 * Publishes a claimed upload as `rollForward` does if it is verified. Resolves with `undefined` if it is not. Releases the claim if
 * this fails, so that any server can try again.
 */
export async function finishClaimed(
  context: ServerContext,
  { claim, record }: ClaimedRecord,
  by?: Connection,
): Promise<VersionedFile | undefined> {
  if (!record.verified) return undefined
  try {
    return await rollForward(context, claim, record, record.verified, by)
  } catch (error) {
    await context.storage.transfers.release?.(claim)
    throw error
  }
}

/** Removes the record and the partial file of an upload. Resolves with false if the claim has ended. */
export async function removeUpload({ transfers, files }: Storage, { user, name, token }: Claim): Promise<boolean> {
  const isRemoved = await transfers.remove(user, name, undefined, token)
  await files.remove(user, name)
  return isRemoved
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

/** Yields the names to try if the first one is taken. Each is requested only after the one before turned out to be unusable. */
async function* candidates(
  name: string,
  onConflict: OnConflict,
  begun: boolean,
  isTaken: (name: string) => Promise<boolean>,
): AsyncGenerator<string> {
  if (begun) yield name
  if (onConflict !== 'rename') return
  const slash = name.lastIndexOf('/') + 1
  const dot = name.lastIndexOf('.')
  const stemEnd = dot > slash ? dot : name.length
  const numbered = (number: number) => `${name.slice(0, stemEnd)} (${number})${name.slice(stemEnd)}`
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
