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

/** Records of the latest messages that are kept at hand. */
const recentBytes = 4 * 1024 * 1024

/** What there is while it is open. */
interface Open {
  readonly journal: Journal
  readonly ledger: MailboxIndex
  readonly writer: JournalWriter
  readonly compaction: Compaction
  readonly appender: MessageAppender
  readonly reader: MessageReader
}

/**
 * The rules of mailboxes, over any journal. The ledger in memory says at once what a call has changed; the call resolves
 * when its record is durable, and if that fails the ledger goes back. So every call finds what those before it have done.
 */
export class Mailboxes implements MailboxStore {
  readonly #watchers = new Set<(user: string) => void>()
  #open: Open | undefined

  /** Reads the journal, which is closed with the mailboxes, also if this rejects. */
  async open(journal: Journal, platform: Platform): Promise<void> {
    const ledger = new MailboxIndex()
    try {
      await replay(journal, ledger)
    } catch (error) {
      await journal.close()
      throw error
    }
    const compaction = new Compaction(journal, contentsOf(ledger), () => writer.wake())
    const writer = new JournalWriter(journal, () => platform.clock.now(), {
      piggyback: () => compaction.piggyback(),
      committed: (bytes) => {
        compaction.consider(bytes)
        for (const user of appender.arrived()) for (const appended of this.#watchers) appended(user)
      },
    })
    const appender = new MessageAppender(ledger, writer, new RecentRecords(recentBytes), platform.crc32)
    this.#open = { journal, ledger, writer, compaction, appender, reader: new MessageReader(journal, ledger) }
    compaction.consider(0)
  }

  /** Refuses everything from now on, and resolves when what was asked before has ended. */
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
    const { writer, ledger } = this.#opened
    const mailbox = ledger.mailbox(user)
    const aside = seqs.filter((seq) => mailbox?.isAside(seq))
    const taken = seqs.flatMap((seq) => ledger.take(user, seq) ?? [])
    const record = taken.length > 0 ? writeSeqs('removed', { user, seqs: taken.map(({ seq }) => seq) }) : undefined
    await writer.add({
      frees: true,
      ...(record ? { record } : {}),
      durable() {},
      undo() {
        for (const held of taken) ledger.put(user, held)
        for (const seq of aside) ledger.mailbox(user)?.setAside(seq)
      },
    })
  }

  async setAside(user: string, seqs: readonly number[]): Promise<void> {
    const { writer, ledger } = this.#opened
    const mailbox = ledger.mailbox(user)
    const there = seqs.filter((seq) => mailbox?.get(seq) && !mailbox.isAside(seq))
    for (const seq of there) mailbox?.setAside(seq)
    const record = there.length > 0 ? writeSeqs('aside', { user, seqs: there }) : undefined
    await writer.add({
      frees: true,
      ...(record ? { record } : {}),
      durable() {},
      undo() {
        for (const seq of there) ledger.mailbox(user)?.unsetAside(seq)
      },
    })
  }

  // Unlike what the other calls do, this is done when it is durable: going back would take much memory.
  async expire(now: number, messagesBefore: number, idsBefore: number): Promise<readonly Expired[]> {
    const { writer, ledger } = this.#opened
    const former = { messagesBefore: ledger.messagesBefore, idsBefore: ledger.idsBefore }
    // What is about to go is not moved any more.
    ledger.messagesBefore = Math.max(former.messagesBefore, messagesBefore)
    ledger.idsBefore = Math.max(former.idsBefore, idsBefore)
    const time = { now: Math.max(now, ledger.lastTime), lastSeq: ledger.lastSeq, messagesBefore, idsBefore }
    let expired: readonly Expired[] = []
    await writer.add({
      frees: true,
      record: writeTime(time),
      durable() {
        ledger.lastTime = Math.max(now, ledger.lastTime)
        expired = ledger.expireMessages(messagesBefore)
        ledger.ids.forgetBefore(idsBefore)
      },
      undo() {
        ledger.messagesBefore = former.messagesBefore
        ledger.idsBefore = former.idsBefore
      },
    })
    return expired
  }

  async lastSeq(): Promise<number> {
    return this.#opened.ledger.lastSeq
  }

  async lastTime(): Promise<number> {
    return this.#opened.ledger.lastTime
  }

  async levels(): Promise<readonly MailboxLevel[]> {
    return this.#opened.ledger.levels()
  }

  async damages(): Promise<readonly Damage[]> {
    return [...this.#opened.journal.damages]
  }

  watch(appended: (user: string) => void): Disposable {
    // A function of its own for each call: somebody may watch twice.
    const watcher = (user: string) => appended(user)
    this.#watchers.add(watcher)
    return { [Symbol.dispose]: () => this.#watchers.delete(watcher) }
  }

  get #opened(): Open {
    if (!this.#open) throw new OspError('closed', 'the storage is closed; open it first')
    return this.#open
  }
}
