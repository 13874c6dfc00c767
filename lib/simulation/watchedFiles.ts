import { recordKey } from '../adapters/records/keys.ts'
import type { Claim, FileStore, PartialFile, Storage, TransferRecord, TransferStore } from '../ports/storage.ts'
import { joined } from './partialImage.ts'
import type { PlaceWatch } from './placeWatch.ts'
import type { SimulatedProcess } from './process.ts'
import type { World } from './world.ts'

/** A storage whose uploads and files are looked at by the invariants of a world, as one run of the server uses it. */
export function watchedFiles(storage: Storage, process: SimulatedProcess, world: World, watch: PlaceWatch): Storage {
  const claimed = new Map<string, TransferRecord>()
  return {
    transfers: watchedTransfers(storage.transfers, world, claimed),
    files: watchedStore(storage.files, async (claim) => {
      const file = await storage.files.open(claim)
      return watchedFile(file, { claim, process, world, watch, record: claimed.get(keyOf(claim)) })
    }),
    mailboxes: storage.mailboxes,
    async open(platform) {
      await storage.open(platform)
      await watch.opened(storage)
    },
    [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
  }
}

/** Keeps the records of claims, which are bounded. */
function watchedTransfers(transfers: TransferStore, world: World, claimed: Map<string, TransferRecord>): TransferStore {
  return {
    async claim(...given) {
      const result = await transfers.claim(...given)
      if ('record' in result) {
        world.bounds.kept(result.record)
        claimed.set(keyOf(result.claim), result.record)
      }
      return result
    },
    async checkpoint(claim, checkpoints, at) {
      const record = claimed.get(keyOf(claim))
      if (record) world.bounds.kept({ ...record, checkpoints })
      await transfers.checkpoint(claim, checkpoints, at)
    },
    verified: (claim, file) => transfers.verified(claim, file),
    complete: (claim, keepNoteMs) => transfers.complete(claim, keepNoteMs),
    remove: (user, name) => transfers.remove(user, name),
    expire: (user, name, before) => transfers.expire(user, name, before),
    forget: (user, name) => transfers.forget(user, name),
    records: (user) => transfers.records(user),
    completed: (want) => transfers.completed(want),
  }
}

function watchedStore(files: FileStore, open: FileStore['open']): FileStore {
  return {
    open,
    remove: (user, name) => files.remove(user, name),
    stored: (user, name) => files.stored(user, name),
    used: (user, name) => files.used(user, name),
    free: () => files.free(),
  }
}

interface Opened {
  readonly claim: Claim
  readonly process: SimulatedProcess
  readonly world: World
  readonly watch: PlaceWatch
  /** As it was when it was claimed; absent for what an earlier run has claimed. */
  readonly record: TransferRecord | undefined
}

function watchedFile(file: PartialFile, { claim, process, world, watch, record }: Opened): PartialFile {
  let isOpen = true
  process.handles++
  return {
    get length() {
      return file.length
    },
    async write(offset, parts) {
      await file.write(offset, parts)
      if (record) world.invariants.wrote(record, { offset, bytes: joined(parts) })
    },
    read: (into, offset) => file.read(into, offset),
    flush: () => file.flush(),
    truncate: (length) => file.truncate(length),
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

const keyOf = ({ user, name, token }: Claim): string => `${recordKey(user, name)} ${token}`
