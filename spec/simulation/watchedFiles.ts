import type { Claim, FileStore, PartialFile, Storage, TransferStore } from '../../lib/ports/storage.ts'
import { lengthOf } from '../../lib/wire/codec.ts'
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
    files: watchedStore(
      storage.files,
      async (claim) => {
        return watchedFile(await storage.files.open(claim), { claim, process, invariants, watch })
      },
      async (user, content, modifiedAt) => {
        const file = await storage.files.create(user, content, modifiedAt)
        const publish = watchedPublish(file, { user, watch, length: () => lengthOf(content) })
        return { version: file.version, publish, [Symbol.asyncDispose]: () => file[Symbol.asyncDispose]() }
      },
      storage.files.createAll &&
        (async (user, contents, modifiedAt) => {
          const files = await storage.files.createAll?.(user, contents, modifiedAt)
          if (!files) throw new Error('the storage has lost a method')
          const lengths = contents.map(lengthOf)
          return {
            versions: files.versions,
            publish: async (places, replace) => {
              for (const { storedName } of places) watch.publishing(user, storedName)
              const results = await files.publish(places, replace)
              for (const [at, { index, storedName }] of places.entries()) {
                if (results[at] === true) await watch.published(user, storedName, lengths[index] ?? 0)
                else if (results[at] === false) watch.notPublished(user, storedName)
              }
              return results
            },
            [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
          }
        }),
    ),
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
    announce: (announced, ...how) => records.changed(announced.file, () => transfers.announce(announced, ...how), none),
    ...(transfers.announceAll && {
      announceAll(files, keepNoteMs) {
        const announcing = async () => (await transfers.announceAll?.(files, keepNoteMs)) ?? []
        const nested = files.reduce(
          (inner, { file }, index) =>
            () => {
              return records.changed(file, inner, (before, errors) => (errors[index] ? before : undefined))
            },
          announcing,
        )
        return nested()
      },
    }),
    forget: (want, digest) => transfers.forget(want, digest),
    records: (user) => transfers.records(user),
    ...(transfers.record && { record: transfers.record.bind(transfers) }),
    ...(transfers.unfinished && { unfinished: transfers.unfinished.bind(transfers) }),
    completed: (want, digest) => transfers.completed(want, digest),
    ...(transfers.isUnknown && { isUnknown: transfers.isUnknown.bind(transfers) }),
    ...(transfers.published && { published: transfers.published.bind(transfers) }),
    reported: (file) => transfers.reported(file),
    unreported: () => transfers.unreported(),
    ...(transfers.isReported && { isReported: transfers.isReported.bind(transfers) }),
    damages: () => transfers.damages(),
  }
}

const none = () => undefined

function watchedStore(
  files: FileStore,
  open: FileStore['open'],
  create: FileStore['create'],
  createAll: FileStore['createAll'],
): FileStore {
  return {
    open,
    create,
    ...(createAll && { createAll }),
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

interface Publishing {
  readonly user: string
  readonly watch: PlaceWatch
  length(): number
}

function watchedPublish(
  file: Pick<PartialFile, 'publish'>,
  { user, watch, length }: Publishing,
): PartialFile['publish'] {
  return async (storedName, replace) => {
    const bytes = length()
    watch.publishing(user, storedName)
    const isThere = await file.publish(storedName, replace)
    if (isThere) await watch.published(user, storedName, bytes)
    else watch.notPublished(user, storedName)
    return isThere
  }
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
    publish: watchedPublish(file, { user: claim.user, watch, length: () => file.length }),
    async [Symbol.asyncDispose]() {
      await file[Symbol.asyncDispose]()
      if (isOpen) process.handles--
      isOpen = false
    },
  }
}
