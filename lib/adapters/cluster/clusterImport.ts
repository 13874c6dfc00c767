import { OspError } from '../../errors.ts'
import { nameKey } from '../../names.ts'
import type { Damage } from '../../ports/mailboxes.ts'
import type { Clock } from '../../ports/platform.ts'
import type { FileRecord } from '../../storage/catalogue/fileRecords.ts'
import type { CopiedId } from '../../storage/mailboxes/copies.ts'
import { recordKey } from '../../storage/transfers/recordStore.ts'
import { type CompletionMarker, fileRecordOf } from '../../storage/transfers/rows.ts'
import type { DataDirectory, PublishedFile, StrangeEntry } from '../disk/dataDirectory.ts'
import type { ImportedFiles, ImportResult } from '../disk/importedFiles.ts'
import type { FileSteps } from './fileSteps.ts'
import { StepRetries } from './stepRetries.ts'
import type { ImportedMarker, ImportOrigin, ImportSteps, StoredImport, StoredUser } from './steps.ts'

/** The maximum number of files that are copied at the same time, and of markers and ids in one step. */
const most = { files: 32, markers: 500, ids: 5_000 }

/** The data that an import has copied so far. */
export interface ImportTotals {
  readonly users: number
  /** Published files, and those of them that were copied, linked, or already there from an interrupted import. */
  readonly files: number
  readonly copied: number
  readonly linked: number
  readonly bytes: number
  readonly uploads: number
  /** Waiting messages, counted once for each mailbox. */
  readonly messages: number
  /** Remembered ids of messages. */
  readonly ids: number
}

/** A fault in the data that an import has found. It does not end the import. */
export type ImportFault =
  /** The entry is skipped. */
  | { readonly kind: 'skipped'; readonly path: string; readonly text: string }
  /** The content of the file differs from what the client sent. It was copied unchanged. */
  | { readonly kind: 'damaged'; readonly path: string; readonly text: string }

export interface ImportEvents {
  /** Called periodically with the data copied so far. */
  progress?(totals: ImportTotals): void
  found?(fault: ImportFault): void
}

export interface ImportOutcome extends ImportTotals {
  /** When an earlier call finished the import, in ms of the wall clock. This call then changed nothing. */
  readonly finishedAt?: number
}

/** The source and the target of an import. */
export interface ImportPlaces {
  /** The opened steps of the shared store. */
  readonly steps: { readonly imports: ImportSteps; readonly files: Pick<FileSteps, 'put'> }
  readonly files: Pick<ImportedFiles, 'users' | 'publish' | 'copyPartial' | 'takeKey'>
  readonly source: DataDirectory
  readonly clock: Clock
}

/**
 * Copies the data of a server into a shared store, without changing the source. Each part is durable before the next one begins,
 * and the import is recorded as finished last, so an interrupted import can be repeated to copy the rest. No server enters the
 * cluster meanwhile. Rejects with OspError `data-locked` if a server is running, `name-conflict` if the store has data of a user
 * of the source, and `data-format` if another import is not finished, or the source has changed since the import began.
 */
export async function importData(places: ImportPlaces, events: ImportEvents = {}): Promise<ImportOutcome> {
  return new DataImport(places, events).run()
}

class DataImport {
  readonly #places: ImportPlaces
  readonly #events: ImportEvents
  readonly #retries: StepRetries
  readonly #totals = { users: 0, files: 0, copied: 0, linked: 0, bytes: 0, uploads: 0, messages: 0, ids: 0 }
  /** The new versions of files, by their paths, if markers identify the files by the former version. */
  readonly #versions = new Map<string, { readonly former: string; readonly present: string }>()

  constructor(places: ImportPlaces, events: ImportEvents) {
    this.#places = places
    this.#events = events
    this.#retries = new StepRetries(places.clock, new AbortController().signal)
  }

  async run(): Promise<ImportOutcome> {
    const { source } = this.#places
    const [id, lastSeq, lastTime] = [await source.id(), await source.lastSeq(), await source.lastTime()]
    const known = await this.#known({ id, place: source.place, lastSeq, lastTime })
    if (known.finishedAt !== undefined) return { ...this.#totals, finishedAt: known.finishedAt }
    await this.#addUsers()
    await this.#addFiles()
    await this.#addMarkers(known)
    await this.#addUploads(known)
    await this.#addMessages(known)
    await this.#addDevices(known)
    await this.#addIds(known)
    // Reading the messages can find damage as well.
    await this.#reportDamages()
    await this.#step((imports) => imports.finish(id))
    return this.#totals
  }

  /** Begins the import unless it has already begun. Resolves with it. */
  async #known(origin: ImportOrigin): Promise<StoredImport> {
    const imports = await this.#step((steps) => steps.list())
    const known = imports.find(({ id }) => id === origin.id)
    if (known) return known
    const other = imports.find(({ finishedAt }) => finishedAt === undefined)
    if (other) throw unfinished(other, origin)
    await this.#checkNames()
    return this.#step((steps) => steps.begin(origin))
  }

  /** Rejects with `name-conflict` if the cluster has data of a user of the source. */
  async #checkNames(): Promise<void> {
    const { source, files } = this.#places
    const used = [...(await this.#step((steps) => steps.usedNames())), ...(await files.users())]
    const usedKeys = new Map(used.map((name) => [nameKey(name), name]))
    const both = [...(await source.names())].filter((name) => usedKeys.has(nameKey(name))).sort()
    if (both.length === 0) return
    const shown =
      both.length > mostNames
        ? `${both.slice(0, mostNames).join(', ')} and ${both.length - mostNames} more`
        : both.join(', ')
    const text = `the cluster already has logins, files, uploads or messages of these users of ${source.place}: ${shown}`
    throw new OspError(
      'name-conflict',
      `${text}; import into a new cluster, or remove their data from the cluster first`,
    )
  }

  async #reportDamages(): Promise<void> {
    for (const damage of await this.#places.source.damages()) this.#events.found?.(damagedRecords(damage))
  }

  async #addUsers(): Promise<void> {
    const { users } = this.#places.source
    if (!users) return
    const stored = users.map(({ name, tokenSha256, since }): StoredUser => {
      return { name, tokenHash: Uint8Array.from(Buffer.from(tokenSha256, 'hex')), since: Date.parse(since) }
    })
    await this.#step((imports) => imports.addUsers(stored))
    this.#totals.users = users.length
  }

  async #addFiles(): Promise<void> {
    const key = await this.#places.source.key()
    if (key) await this.#places.files.takeKey(key)
    const markers = new Map(this.#places.source.markers.map((marker) => [storedKey(marker.file), marker]))
    let batch: PublishedFile[] = []
    for await (const entry of this.#places.source.files()) {
      if (isStrange(entry)) this.#events.found?.({ kind: 'skipped', path: entry.path, text: entry.reason })
      else if (batch.push(entry) === most.files) {
        await this.#publish(batch, markers)
        batch = []
      }
    }
    await this.#publish(batch, markers)
  }

  async #publish(batch: readonly PublishedFile[], markers: ReadonlyMap<string, CompletionMarker>): Promise<void> {
    const { steps, files } = this.#places
    const known = await this.#recordsOf(batch, markers)
    const results = await files.publish(batch.map((file, at) => ({ ...file, expected: known[at] })))
    const records: FileRecord[] = []
    for (const [at, file] of batch.entries()) {
      const [record, result] = [known[at], results[at]]
      if (record && result && !result.isDamaged) records.push({ ...record, version: result.version })
      this.#published(file, record?.version, result)
    }
    if (records.length > 0) await this.#retries.run(() => steps.files.put(records))
    this.#events.progress?.(this.#totals)
  }

  /** Resolves with the record of each of these files, if the server has one of its current version. */
  async #recordsOf(
    batch: readonly PublishedFile[],
    markers: ReadonlyMap<string, CompletionMarker>,
  ): Promise<readonly (FileRecord | undefined)[]> {
    const { source } = this.#places
    const keys = await Promise.all(
      batch.map(async ({ user, name }) => ({ user, name, version: (await source.version(user, name)) ?? '' })),
    )
    const records = await source.describe(keys)
    return keys.map(({ user, name, version }, at) => {
      const marker = markers.get(recordKey(user, name))
      return records[at] ?? (marker?.stamp === version ? fileRecordOf(marker) : undefined)
    })
  }

  #published(file: PublishedFile, former: string | undefined, result: ImportResult | undefined): void {
    if (!result) return
    const { placement, version, isDamaged } = result
    this.#totals.files++
    this.#totals.bytes += file.size
    if (placement !== 'there') this.#totals[placement]++
    if (isDamaged) this.#events.found?.({ kind: 'damaged', path: file.path, text: damagedText })
    else if (former !== undefined) this.#versions.set(recordKey(file.user, file.name), { former, present: version })
  }

  async #addMarkers({ server }: StoredImport): Promise<void> {
    const now = this.#places.clock.wallTime()
    const valid = this.#places.source.markers.filter(({ until, reported }) => until >= now || !reported)
    for (const group of groupsOf(valid, most.markers)) {
      const markers = group.map((marker) => this.#importedMarker(marker))
      await this.#step((imports) => imports.addMarkers(server, markers))
    }
  }

  #importedMarker({ file, modifiedAt, until, stamp, reported }: CompletionMarker): ImportedMarker {
    const known = this.#versions.get(storedKey(file))
    const version = known?.former === stamp ? known.present : stamp
    return { file, version, modifiedAt, until, reported }
  }

  async #addUploads({ server, ageShift }: StoredImport): Promise<void> {
    const { source, files } = this.#places
    for (const record of source.records) {
      const { user, name, updatedAt } = record
      await files.copyPartial(source.partialOf(user, name), user, name)
      // After its bytes: an upload with a record but without bytes would start over.
      await this.#step((imports) => imports.addUpload(server, { ...record, updatedAt: updatedAt + ageShift }))
      this.#totals.uploads++
      this.#events.progress?.(this.#totals)
    }
  }

  async #addMessages({ server, seqShift, ageShift }: StoredImport): Promise<void> {
    for await (const group of this.#places.source.messages()) {
      const messages = group.map((message) => {
        return { ...message, seq: message.seq + seqShift, storedAt: message.storedAt + ageShift }
      })
      await this.#step((imports) => imports.addMessages(server, messages))
      for (const { mailboxes } of messages) this.#totals.messages += mailboxes.length
      this.#events.progress?.(this.#totals)
    }
  }

  async #addDevices({ seqShift, ageShift }: StoredImport): Promise<void> {
    const shifted = (seqs: readonly number[]) => seqs.map((seq) => seq + seqShift)
    for (const { user, devices: known, rejected } of this.#places.source.devices()) {
      const devices = known.map(({ name, seenAt, answered }) => {
        return { name, seenAt: seenAt + ageShift, answered: shifted(answered) }
      })
      const reasons = new Map(Array.from(rejected, ([seq, reason]) => [seq + seqShift, reason]))
      await this.#step((imports) => imports.addDevices({ user, devices, rejected: reasons }))
    }
  }

  async #addIds({ server, ageShift }: StoredImport): Promise<void> {
    for (const group of groupsOf(this.#places.source.ids(), most.ids)) {
      const ids = group.map((id): CopiedId => ({ ...id, storedAt: id.storedAt + ageShift }))
      await this.#step((imports) => imports.addIds(server, ids))
      this.#totals.ids += ids.length
      this.#events.progress?.(this.#totals)
    }
  }

  #step<T>(step: (imports: ImportSteps) => Promise<T>): Promise<T> {
    return this.#retries.run(() => step(this.#places.steps.imports))
  }
}

/** The maximum number of users that an error names. */
const mostNames = 20

const damagedText =
  'its digest differs from the one with which it was stored, so the disk has damaged it; it was copied unchanged'

function damagedRecords({ file, offset, bytes }: Damage): ImportFault {
  return { kind: 'damaged', path: file, text: `${bytes} bytes at ${offset} cannot be read; their records are missing` }
}

const isStrange = (entry: PublishedFile | StrangeEntry): entry is StrangeEntry => 'reason' in entry

/** Returns the key of the place of a stored file. */
const storedKey = ({ user, storedName }: CompletionMarker['file']) => recordKey(user, storedName)

function unfinished(other: StoredImport, { place }: ImportOrigin): OspError {
  const reason =
    other.place === place
      ? `${place} has changed since its import into this cluster began, and the import is not finished`
      : `the import of ${other.place} into this cluster is not finished; repeat it`
  const advice =
    'to start over, remove the schema "ospd" and the shared directory, and run "ospd cluster init" (docs/cluster.md)'
  return new OspError('data-format', `${reason}; ${advice}`)
}

/** Yields these values in groups. */
function* groupsOf<T>(values: Iterable<T>, size: number): Generator<readonly T[]> {
  let group: T[] = []
  for (const value of values) {
    if (group.push(value) < size) continue
    yield group
    group = []
  }
  if (group.length > 0) yield group
}
