import type { Catalogue } from '../../lib/ports/catalogue.ts'
import type { PartialFile, Storage } from '../../lib/ports/storage.ts'

/** The methods of a storage, and of its partial files, that a spec may intercept. */
export type Step =
  | 'claim'
  | 'checkpoint'
  | 'verified'
  | 'complete'
  | 'announce'
  | 'reported'
  | 'remove'
  | 'open'
  | 'create'
  | 'write'
  | 'read'
  | 'read stored file'
  | 'flush'
  | 'truncate'
  | 'publish'
  | 'count files'
  | 'close'
  | 'append message'
  | 'read messages'
  | 'remove messages'
  | 'set messages aside'
  | 'return messages'

/** Executes a step of a storage; `run` is the real step. */
export type StepWrapper = <T>(step: Step, run: () => Promise<T>) => Promise<T>

/** Wraps a storage: `around` is called for each step, and may act before, after or instead of it. */
export function stepped(storage: Storage, around: StepWrapper): Storage {
  const { transfers, files, mailboxes, catalogue } = storage
  const step =
    <A extends unknown[], T>(name: Step, run: (...args: A) => Promise<T>) =>
    (...args: A) =>
      around(name, () => run(...args))
  return {
    open: storage.open.bind(storage),
    transfers: {
      claim: step('claim', transfers.claim.bind(transfers)),
      checkpoint: step('checkpoint', transfers.checkpoint.bind(transfers)),
      verified: step('verified', transfers.verified.bind(transfers)),
      complete: step('complete', transfers.complete.bind(transfers)),
      announce: step('announce', transfers.announce.bind(transfers)),
      remove: step('remove', transfers.remove.bind(transfers)),
      expire: step('remove', transfers.expire.bind(transfers)),
      forget: transfers.forget.bind(transfers),
      completed: transfers.completed.bind(transfers),
      ...(transfers.isUnknown && { isUnknown: transfers.isUnknown.bind(transfers) }),
      records: transfers.records.bind(transfers),
      ...(transfers.record && { record: transfers.record.bind(transfers) }),
      ...(transfers.unfinished && { unfinished: transfers.unfinished.bind(transfers) }),
      reported: step('reported', transfers.reported.bind(transfers)),
      unreported: transfers.unreported.bind(transfers),
      ...(transfers.published && { published: transfers.published.bind(transfers) }),
      ...(transfers.isReported && { isReported: transfers.isReported.bind(transfers) }),
      damages: transfers.damages.bind(transfers),
    },
    files: {
      open: step('open', async (claim) => steppedFile(await files.open(claim), around)),
      create: step('create', async (user, content, modifiedAt) => {
        const file = await files.create(user, content, modifiedAt)
        return { ...file, publish: (...where) => around('publish', () => file.publish(...where)) }
      }),
      remove: files.remove.bind(files),
      sweep: files.sweep.bind(files),
      stored: files.stored.bind(files),
      used: files.used.bind(files),
      ...(files.usage && { usage: step('count files', files.usage.bind(files)) }),
      space: files.space.bind(files),
      heldBytes: files.heldBytes.bind(files),
    },
    mailboxes: {
      append: step('append message', mailboxes.append.bind(mailboxes)),
      full: mailboxes.full.bind(mailboxes),
      read: step('read messages', mailboxes.read.bind(mailboxes)),
      remove: step('remove messages', mailboxes.remove.bind(mailboxes)),
      setAside: step('set messages aside', mailboxes.setAside.bind(mailboxes)),
      list: mailboxes.list.bind(mailboxes),
      return: step('return messages', mailboxes.return.bind(mailboxes)),
      expire: mailboxes.expire.bind(mailboxes),
      lastSeq: mailboxes.lastSeq.bind(mailboxes),
      lastTime: mailboxes.lastTime.bind(mailboxes),
      levels: mailboxes.levels.bind(mailboxes),
      watchReceipts: mailboxes.watchReceipts.bind(mailboxes),
      ...(mailboxes.expireOverdue && { expireOverdue: mailboxes.expireOverdue.bind(mailboxes) }),
      damages: mailboxes.damages.bind(mailboxes),
      devices: mailboxes.devices,
    },
    ...(catalogue && { catalogue: steppedCatalogue(catalogue, around) }),
    [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
  }
}

function steppedCatalogue(catalogue: Catalogue, around: StepWrapper): Catalogue {
  return {
    list: catalogue.list.bind(catalogue),
    find: catalogue.find.bind(catalogue),
    remove: catalogue.remove.bind(catalogue),
    rename: catalogue.rename.bind(catalogue),
    key: catalogue.key.bind(catalogue),
    ...(catalogue.sweep && { sweep: catalogue.sweep.bind(catalogue) }),
    open: async (user, name) => {
      const file = await catalogue.open(user, name)
      return (
        file && {
          size: file.size,
          version: file.version,
          read: (into, offset) => around('read stored file', () => file.read(into, offset)),
          [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
        }
      )
    },
  }
}

function steppedFile(file: PartialFile, around: StepWrapper): PartialFile {
  return {
    get length() {
      return file.length
    },
    write: (offset, parts) => around('write', () => file.write(offset, parts)),
    read: (into, offset) => around('read', () => file.read(into, offset)),
    flush: () => around('flush', () => file.flush()),
    truncate: (length) => around('truncate', () => file.truncate(length)),
    publish: (storedName, replace) => around('publish', () => file.publish(storedName, replace)),
    [Symbol.asyncDispose]: () => around('close', async () => file[Symbol.asyncDispose]()),
  }
}
