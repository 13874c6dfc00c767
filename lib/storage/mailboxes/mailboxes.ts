import { OspError } from '../../errors.ts'
import type {
  Damage,
  Expired,
  MailboxDevices,
  MailboxLevel,
  MailboxPage,
  MailboxStore,
  Overdue,
  Settlement,
  StoredMessage,
} from '../../ports/mailboxes.ts'
import type { Platform } from '../../ports/platform.ts'
import type { Journal } from '../journal/journal.ts'
import { type Contents, JournalWriter } from '../journal/journalWriter.ts'
import {
  type CopiedDevices,
  type CopiedId,
  type CopiedMessage,
  copiedDevices,
  copiedId,
  copiedMessage,
  deviceRecords,
  idRecords,
  newRecords,
  waitingGroups,
} from './copies.ts'
import { DeviceRules } from './deviceRules.ts'
import type { Device } from './devices.ts'
import type { IndexEntry } from './mailbox.ts'
import { contentsOf } from './mailboxContents.ts'
import { MailboxIndex } from './mailboxIndex.ts'
import { MessageAppender } from './messageAppender.ts'
import { MessageSettler } from './messageSettler.ts'
import { storedMessage, writeSeqs, writeTime } from './records.ts'

/** The parts of open mailboxes. */
interface Open {
  readonly journal: Journal
  readonly index: MailboxIndex
  readonly contents: Contents
  readonly writer: JournalWriter
  readonly appender: MessageAppender
  readonly settler: MessageSettler
  readonly devices: DeviceRules
}

const handled: Settlement = { state: 'handled' }

/** The maximum number of messages that expire in one step if their senders get receipts. */
const expiredTogether = 1_000

/**
 * The rules of mailboxes, over any journal. A call changes the index in memory at once and resolves when its record is
 * durable. If the append fails, the change is undone. So each call sees the changes of all earlier calls.
 */
export class Mailboxes implements MailboxStore {
  #open: Open | undefined
  readonly #watchers = new Set<(user: string) => void>()
  readonly devices: MailboxDevices = {
    open: async (...args) => this.#opened.devices.open(...args),
    forget: async (before) => this.#opened.devices.forget(before),
    remove: async (user, device) => this.#opened.devices.remove(user, device),
    list: async (user) => this.#opened.devices.list(user),
  }

  /** Reads the journal. The mailboxes close the journal, even if this rejects. */
  async open(journal: Journal, platform: Platform): Promise<void> {
    const index = new MailboxIndex()
    const contents = contentsOf(index)
    const writer = new JournalWriter(journal, platform.clock, contents)
    const appender = new MessageAppender(index, writer, platform.crc32)
    const nextSeq = () => appender.nextSeq()
    const appended = (user: string) => {
      for (const watcher of this.#watchers) watcher(user)
    }
    const settler = new MessageSettler({ index, writer, platform, nextSeq, appended })
    // For the ids of receipts.
    await Promise.all([writer.open(), platform.digests.load('sha256')])
    index.ids.order()
    for (const [user, devices] of index.devices.users())
      for (const device of devices.values()) device.settle([], index.mailbox(user))
    const devices = new DeviceRules({ index, writer, settler })
    this.#open = { journal, index, contents, writer, appender, settler, devices }
  }

  /** Refuses all further calls. Resolves when earlier calls have ended. */
  async close(): Promise<void> {
    const open = this.#open
    this.#open = undefined
    await open?.writer.close()
  }

  async append(...[messages, bounds]: Parameters<MailboxStore['append']>): ReturnType<MailboxStore['append']> {
    return this.#opened.appender.append(messages, bounds)
  }

  full(...query: Parameters<MailboxStore['full']>): readonly string[] {
    return this.#opened.appender.full(...query)
  }

  read(
    ...[user, afterSeq, most, mostBytes, reader]: Parameters<MailboxStore['read']>
  ): Promise<readonly StoredMessage[]> {
    return this.#list(user, { aside: false, afterSeq, most, mostBytes }, reader?.device)
  }

  list(user: string, wanted: MailboxPage): Promise<readonly StoredMessage[]> {
    return this.#list(user, wanted)
  }

  /** Returns a page, without the messages that `device` has handled. */
  async #list(user: string, wanted: MailboxPage, device?: string): Promise<readonly StoredMessage[]> {
    const { journal, index } = this.#opened
    const reader = device === undefined ? undefined : index.devices.of(user)?.get(device)
    for (let after = wanted.afterSeq; ; ) {
      const page = pageOf(index, user, { ...wanted, afterSeq: after }, reader)
      const last = page.at(-1)
      if (!last) return []
      const isCached = page.every(({ message }) => message)
      const messages = isCached
        ? page.flatMap(({ message }) => message ?? [])
        : await fetched(journal, index, user, page)
      if (messages.length > 0) return messages
      after = last.seq
    }
  }

  async remove(...[user, seqs, mayWait, how = handled]: Parameters<MailboxStore['remove']>): Promise<void> {
    await this.#opened.devices.answer(user, seqs, how, { isRejected: false, mayWait })
  }

  async setAside(...[user, seqs, results, device]: Parameters<MailboxStore['setAside']>): Promise<void> {
    await this.#opened.devices.answer(user, seqs, { state: 'rejected', results, device }, { isRejected: true })
  }

  async return(user: string, seqs: readonly number[], storedAt: number): Promise<void> {
    const { journal, index, appender } = this.#opened
    const entryOf = (seq: number) => (index.mailbox(user)?.isAside(seq) ? index.get(user, seq) : undefined)
    const entries = [...new Set(seqs)].sort((a, b) => a - b).flatMap((seq) => entryOf(seq) ?? [])
    const records = await recordsOf(
      journal,
      entries.filter(({ isDurable }) => isDurable),
    )
    // A message may have been removed or returned in the meantime.
    const found = entries.filter((entry) => entryOf(entry.seq) === entry)
    const returned = found.flatMap((entry) => {
      const record = records.get(entry)
      return record ? { entry, record } : []
    })
    await appender.return(user, returned, storedAt)
  }

  // Unlike other changes, this one is made when its record is durable, since undoing it would take much memory.
  async expire(now: number, messagesBefore: number, idsBefore: number, wallTime = 0): Promise<readonly Expired[]> {
    const { writer, index, settler } = this.#opened
    const expired = new Map<string, number>()
    const count = (user: string, messages: number) => expired.set(user, (expired.get(user) ?? 0) + messages)
    const asking = () => index.expiredAsking(messagesBefore, wallTime, expiredTogether)
    for (let found = asking(); found; found = asking()) {
      const { user, seqs } = found
      await settler.remove(user, seqs, { state: 'expired' }, false, Math.max(now, index.lastTime))
      count(user, seqs.length)
    }
    const former = { messagesBefore: index.messagesBefore, idsBefore: index.idsBefore }
    // Messages that are about to be removed are not moved by a compaction.
    index.messagesBefore = Math.max(former.messagesBefore, messagesBefore)
    index.idsBefore = Math.max(former.idsBefore, idsBefore)
    const time = { now: Math.max(now, index.lastTime), lastSeq: index.lastSeq, messagesBefore, idsBefore }
    const overdue = index.overdue(wallTime)
    await writer.add({
      frees: true,
      records: [writeTime(time), ...overdue.map((seqs) => writeSeqs('removed', seqs))],
      durable() {
        index.lastTime = Math.max(now, index.lastTime)
        for (const { user, messages } of index.expireMessages(messagesBefore)) count(user, messages)
        for (const { user, seqs } of overdue) for (const seq of seqs) if (index.remove(user, seq)) count(user, 1)
        index.ids.forgetBefore(idsBefore)
      },
      undo() {
        index.messagesBefore = former.messagesBefore
        index.idsBefore = former.idsBefore
      },
    })
    return Array.from(expired, ([user, messages]) => ({ user, messages }))
  }

  async expireOverdue(wallTime: number, isFree: (user: string) => boolean): Promise<Overdue> {
    const { index, settler } = this.#opened
    const overdue = index
      .overdue(wallTime, isFree)
      .map(({ user, seqs }) => ({ user, seqs: seqs.slice(0, expiredTogether) }))
    await Promise.all(overdue.map(({ user, seqs }) => settler.remove(user, seqs, { state: 'expired' })))
    const expired = overdue.map(({ user, seqs }) => ({ user, messages: seqs.length }))
    return { expired, nextAt: index.nextExpiry(isFree) }
  }

  /** Returns the earliest end of a time to live in the mailboxes of the users for which `isFree` returns true. */
  nextExpiry(isFree: (user: string) => boolean): number | undefined {
    return this.#opened.index.nextExpiry(isFree)
  }

  async lastSeq(): Promise<number> {
    return this.#opened.index.lastSeq
  }

  async lastTime(): Promise<number> {
    return this.#opened.index.lastTime
  }

  async levels(): Promise<readonly MailboxLevel[]> {
    return this.#opened.index.levels()
  }

  async damages(): Promise<readonly Damage[]> {
    return this.#opened.writer.damages()
  }

  watchReceipts(appended: (user: string) => void): Disposable {
    this.#watchers.add(appended)
    return { [Symbol.dispose]: () => void this.#watchers.delete(appended) }
  }

  /** Yields copies of all messages in groups, in no particular order. Damaged messages are left out. */
  async *messageCopies(): AsyncGenerator<readonly CopiedMessage[]> {
    const { journal, index } = this.#opened
    for (const group of waitingGroups(index)) {
      const entries = group.map(([entry]) => entry)
      const records = await recordsOf(journal, entries)
      yield group.flatMap(([entry, mailboxes]) => {
        const record = records.get(entry)
        return record ? copiedMessage(record, mailboxes) : []
      })
    }
  }

  /** Yields copies of all remembered ids. */
  *idCopies(): Generator<CopiedId> {
    for (const [sender, ids] of this.#opened.index.ids.senders()) for (const id of ids) yield copiedId(sender, id)
  }

  /** Yields each mailbox that contains messages, with their seqs and which of them are set aside. Sorted by user. */
  *mailboxStates(): Generator<{ readonly user: string; readonly seqs: number[]; readonly aside: number[] }> {
    const mailboxes = [...this.#opened.index.mailboxes()].sort(([a], [b]) => (a < b ? -1 : 1))
    for (const [user, mailbox] of mailboxes) {
      const seqs = Array.from(mailbox.after(0), ({ seq }) => seq)
      yield { user, seqs, aside: seqs.filter((seq) => mailbox.isAside(seq)) }
    }
  }

  /** Yields the known devices of each user. */
  *deviceCopies(): Generator<CopiedDevices> {
    const { index } = this.#opened
    for (const [user, devices] of index.devices.users())
      yield copiedDevices(user, devices.values(), index.mailbox(user))
  }

  /** Adds copies of the devices of a user, whose messages exist. Durable. */
  async addDevices(devices: CopiedDevices): Promise<void> {
    await this.#add(deviceRecords(devices))
  }

  /** Returns the names of the known devices of a user. */
  deviceNames(user: string): readonly string[] {
    return [...(this.#opened.index.devices.of(user)?.keys() ?? [])]
  }

  /**
   * Adds copies of messages with their seqs, and of ids. Those that exist are not changed. Later messages get seqs after
   * `lastSeq`. Durable.
   */
  async addCopies(messages: readonly CopiedMessage[], ids: readonly CopiedId[], lastSeq = 0): Promise<void> {
    const { index } = this.#opened
    const { lastTime, messagesBefore, idsBefore } = index
    const time = writeTime({ now: lastTime, lastSeq, messagesBefore, idsBefore })
    await this.#add([...newRecords(index, messages), ...idRecords(ids), time])
  }

  /** Writes records, and enters them in the index when they are durable. */
  async #add(records: readonly Buffer[]): Promise<void> {
    const { contents, writer } = this.#opened
    await writer.add({
      records,
      durable(places) {
        for (const [at, record] of records.entries()) {
          const place = places[at]
          if (place) contents.enter({ ...place, record })
        }
      },
      undo() {},
    })
  }

  get #opened(): Open {
    if (!this.#open) throw new OspError('closed', 'the storage is closed; open it first')
    return this.#open
  }
}

/** Returns the entries of a page, within the limits of `MailboxStore.read`, without the messages that `reader` has handled. */
function pageOf(index: MailboxIndex, user: string, wanted: MailboxPage, reader: Device | undefined): IndexEntry[] {
  const { aside, afterSeq, most, mostBytes } = wanted
  const page: IndexEntry[] = []
  const mailbox = index.mailbox(user)
  if (!mailbox || most < 1) return page
  let bytes = 0
  for (const entry of mailbox.after(afterSeq)) {
    // Messages that are not durable yet have higher seqs than all durable ones.
    if (!entry.isDurable) break
    if (mailbox.isAside(entry.seq) !== aside || reader?.hasHandled(entry.seq)) continue
    bytes += entry.bytes
    if (page.length > 0 && bytes > mostBytes) break
    if (page.push(entry) >= most) break
  }
  return page
}

/** Reads the messages that are not cached from the journal. Removes unreadable ones from the index. */
async function fetched(journal: Journal, index: MailboxIndex, user: string, page: readonly IndexEntry[]) {
  // Before anything is awaited: the cache may drop them meanwhile.
  const cached = new Map(page.map((entry) => [entry, entry.message]))
  const missing = page.filter((entry) => !cached.get(entry))
  const records = await recordsOf(journal, missing)
  for (const entry of missing) if (!records.has(entry)) index.remove(user, entry.seq)
  return page.flatMap((entry) => {
    const record = records.get(entry)
    const message = record ? storedMessage(record) : cached.get(entry)
    // The message may have been removed in the meantime.
    return message && index.get(user, entry.seq) ? message : []
  })
}

/** Reads the records of messages from the journal. Unreadable ones are absent. */
async function recordsOf(journal: Journal, entries: readonly IndexEntry[]): Promise<ReadonlyMap<IndexEntry, Buffer>> {
  const records = new Map<IndexEntry, Buffer>()
  let missing = entries
  while (missing.length > 0) {
    const places = missing.map(({ segment, offset, length }) => ({ segment, offset, length }))
    const found = await journal.read(places)
    missing = missing.filter((entry, at) => {
      const [record, place] = [found[at], places[at]]
      if (record) records.set(entry, record)
      // A compaction has moved the message in the meantime.
      return !record && place !== undefined && !entry.isAt(place)
    })
  }
  return records
}
