import { OspError } from '../../errors.ts'
import type {
  Damage,
  Expired,
  MailboxBounds,
  MailboxLevel,
  MailboxStore,
  NewMessage,
  StoredMessage,
} from '../../ports/mailboxes.ts'
import type { Platform } from '../../ports/platform.ts'
import { Compaction } from '../journal/compaction.ts'
import type { Journal } from '../journal/journal.ts'
import { JournalWriter } from '../journal/journalWriter.ts'
import { MailboxIndex } from './mailboxIndex.ts'
import { MessageAppender, RecentRecords } from './messageAppender.ts'
import { MessageReader } from './messageReader.ts'
import { writeSeqs, writeTime } from './records.ts'
import { replay } from './replay.ts'
import { contentsOf } from './segmentCopier.ts'

/** The bytes of the latest messages that are cached. */
const recentBytes = 4 * 1024 * 1024

/** The parts of open mailboxes. */
interface Open {
  readonly journal: Journal
  readonly index: MailboxIndex
  readonly writer: JournalWriter
  readonly compaction: Compaction
  readonly appender: MessageAppender
  readonly reader: MessageReader
}

/**
 * The rules of mailboxes, over any journal. A call changes the index in memory at once and resolves when its record is
 * durable. If the append fails, the change is undone. So each call sees the changes of all earlier calls.
 */
export class Mailboxes implements MailboxStore {
  readonly #watchers = new Set<(user: string) => void>()
  #open: Open | undefined

  /** Reads the journal. The mailboxes close the journal, even if this rejects. */
  async open(journal: Journal, platform: Platform): Promise<void> {
    const index = new MailboxIndex()
    try {
      await replay(journal, index)
    } catch (error) {
      await journal.close()
      throw error
    }
    const compaction = new Compaction(journal, contentsOf(index), () => writer.wake())
    const writer = new JournalWriter(journal, () => platform.clock.now(), {
      piggyback: () => compaction.piggyback(),
      committed: (bytes) => {
        compaction.consider(bytes)
        for (const user of appender.arrived()) for (const appended of this.#watchers) appended(user)
      },
    })
    const appender = new MessageAppender(index, writer, new RecentRecords(recentBytes), platform.crc32)
    this.#open = { journal, index, writer, compaction, appender, reader: new MessageReader(journal, index) }
    compaction.consider(0)
  }

  /** Refuses all further calls. Resolves when earlier calls have ended. */
  async close(): Promise<void> {
    const open = this.#open
    if (!open) return
    this.#open = undefined
    await open.compaction.stop()
    await open.writer.idle()
    await open.journal.close()
  }

  append(message: NewMessage, recipients: readonly string[], bounds: MailboxBounds): Promise<void> {
    try {
      return this.#opened.appender.append(message, recipients, bounds)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async read(user: string, afterSeq: number, most: number, mostBytes: number): Promise<readonly StoredMessage[]> {
    return this.#opened.reader.read(user, afterSeq, most, mostBytes)
  }

  async remove(user: string, seqs: readonly number[]): Promise<void> {
    const { writer, index } = this.#opened
    const mailbox = index.mailbox(user)
    const aside = seqs.filter((seq) => mailbox?.isAside(seq))
    const taken = seqs.flatMap((seq) => index.remove(user, seq) ?? [])
    const record = taken.length > 0 ? writeSeqs('removed', { user, seqs: taken.map(({ seq }) => seq) }) : undefined
    await writer.add({
      frees: true,
      ...(record ? { record } : {}),
      durable() {},
      undo() {
        for (const entry of taken) index.add(user, entry)
        for (const seq of aside) index.mailbox(user)?.setAside(seq)
      },
    })
  }

  async setAside(user: string, seqs: readonly number[]): Promise<void> {
    const { writer, index } = this.#opened
    const mailbox = index.mailbox(user)
    const there = seqs.filter((seq) => mailbox?.get(seq) && !mailbox.isAside(seq))
    for (const seq of there) mailbox?.setAside(seq)
    const record = there.length > 0 ? writeSeqs('aside', { user, seqs: there }) : undefined
    await writer.add({
      frees: true,
      ...(record ? { record } : {}),
      durable() {},
      undo() {
        for (const seq of there) index.mailbox(user)?.unsetAside(seq)
      },
    })
  }

  // Unlike other changes, this one is made when its record is durable, since undoing it would take much memory.
  async expire(now: number, messagesBefore: number, idsBefore: number): Promise<readonly Expired[]> {
    const { writer, index } = this.#opened
    const former = { messagesBefore: index.messagesBefore, idsBefore: index.idsBefore }
    // Messages that are about to be removed are not moved by a compaction.
    index.messagesBefore = Math.max(former.messagesBefore, messagesBefore)
    index.idsBefore = Math.max(former.idsBefore, idsBefore)
    const time = { now: Math.max(now, index.lastTime), lastSeq: index.lastSeq, messagesBefore, idsBefore }
    let expired: readonly Expired[] = []
    await writer.add({
      frees: true,
      record: writeTime(time),
      durable() {
        index.lastTime = Math.max(now, index.lastTime)
        expired = index.expireMessages(messagesBefore)
        index.ids.forgetBefore(idsBefore)
      },
      undo() {
        index.messagesBefore = former.messagesBefore
        index.idsBefore = former.idsBefore
      },
    })
    return expired
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
    return [...this.#opened.journal.damages]
  }

  watch(appended: (user: string) => void): Disposable {
    // A separate function for each call, since a caller may watch twice.
    const watcher = (user: string) => appended(user)
    this.#watchers.add(watcher)
    return { [Symbol.dispose]: () => this.#watchers.delete(watcher) }
  }

  get #opened(): Open {
    if (!this.#open) throw new OspError('closed', 'the storage is closed; open it first')
    return this.#open
  }
}
