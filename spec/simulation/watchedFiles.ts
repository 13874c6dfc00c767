import type { Claim, FileStore, PartialFile, Storage, TransferStore } from '../../lib/ports/storage.ts'
import type { Invariants } from './invariants.ts'
import { joined } from './partialImage.ts'
import type { PlaceWatch } from './placeWatch.ts'
import type { SimulatedProcess } from './process.ts'
import type { PromisedRecords } from './promisedRecords.ts'

/** A storage whose uploads and files are checked by the invariants of a world, for one run of the server. */
export function watchedFiles(
  storage: Storage,
  process: SimulatedProcess,
  invariants: Invariants,
  watch: PlaceWatch,
): Storage {
  return {
    transfers: watchedTransfers(storage.transfers, watch.records),
    files: watchedStore(storage.files, async (claim) => {
      return watchedFile(await storage.files.open(claim), { claim, process, invariants, watch })
    }),
    mailboxes: storage.mailboxes,
    async open(platform) {
      await storage.open(platform)
      await watch.opened(storage)
    },
    [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
  }
}

function watchedTransfers(transfers: TransferStore, records: PromisedRecords): TransferStore {
  return {
    async claim(want, ...how) {
      const claiming = () => transfers.claim(want, ...how)
      const result = await records.changed(want, claiming, (before) => before)
      if ('record' in result) records.claimed(result.record)
      else records.gone(want)
      return result
    },
    checkpoint(claim, checkpoints, at) {
      const keeping = () => transfers.checkpoint(claim, checkpoints, at)
      return records.changed(claim, keeping, (before) => ({ ...before, checkpoints }))
    },
    verified: (claim, file) =>
      records.changed(
        claim,
        () => transfers.verified(claim, file),
        (before) => ({ ...before, verified: file }),
      ),
    complete: (claim, keepNoteMs) => records.changed(claim, () => transfers.complete(claim, keepNoteMs), none),
    remove: (user, name) => records.changed({ user, name }, () => transfers.remove(user, name), none),
    expire: (user, name, before) => {
      const expiring = () => transfers.expire(user, name, before)
      return records.changed({ user, name }, expiring, (record, expired) => (expired ? undefined : record))
    },
    forget: (user, name) => transfers.forget(user, name),
    records: (user) => transfers.records(user),
    ...(transfers.record && { record: transfers.record.bind(transfers) }),
    ...(transfers.unfinished && { unfinished: transfers.unfinished.bind(transfers) }),
    completed: (want) => transfers.completed(want),
    reported: (file) => transfers.reported(file),
    unreported: () => transfers.unreported(),
    damages: () => transfers.damages(),
  }
}

const none = () => undefined

function watchedStore(files: FileStore, open: FileStore['open']): FileStore {
  return {
    open,
    remove: (user, name) => files.remove(user, name),
    stored: (user, name) => files.stored(user, name),
    used: (user, name) => files.used(user, name),
    ...(files.usage && { usage: files.usage.bind(files) }),
    sweep: (before) => files.sweep(before),
    space: () => files.space(),
    heldBytes: (user, name) => files.heldBytes(user, name),
  }
}

interface Opened {
  readonly claim: Claim
  readonly process: SimulatedProcess
  readonly invariants: Invariants
  readonly watch: PlaceWatch
}

function watchedFile(file: PartialFile, { claim, process, invariants, watch }: Opened): PartialFile {
  let isOpen = true
  process.handles++
  return {
    get length() {
      return file.length
    },
    async write(offset, parts) {
      const record = watch.records.of(claim)
      watch.records.rewritten(claim, offset)
      await file.write(offset, parts)
      if (record) invariants.wrote(record, { offset, bytes: joined(parts) })
    },
    read: (into, offset) => file.read(into, offset),
    flush: () => file.flush(),
    truncate(length) {
      watch.records.rewritten(claim, length)
      return file.truncate(length)
    },
    async publish(storedName, replace) {
      const { length } = file
      watch.publishing(claim.user, storedName)
      const isThere = await file.publish(storedName, replace)
      if (isThere) await watch.published(claim.user, storedName, length)
      else watch.notPublished(claim.user, storedName)
      return isThere
    },
    async [Symbol.asyncDispose]() {
      await file[Symbol.asyncDispose]()
      if (isOpen) process.handles--
      isOpen = false
    },
  }
}
