import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import type { Catalogue, CatalogueEntry } from '../../ports/catalogue.ts'
import type { StoredMessage } from '../../ports/mailboxes.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { Backoff } from '../../runtime/backoff.ts'
import { hex } from '../../runtime/hex.ts'
import { cutText, cutUtf8 } from '../../runtime/refusal.ts'
import { wait } from '../../runtime/wait.ts'
import { decodeBody } from '../../wire/messageBody.ts'
import { digestNames } from '../../wire/protocol.ts'
import type { ServerContext } from '../app.ts'

/** The mailbox of the handler. No user can have this name. */
export const handlerMailbox = ':stored'

/** The delays between calls for the same file. */
const waits = { firstMs: 500, mostMs: 60_000 } as const
/** The number of failed calls for a file after which its message is set aside. */
const mostTries = 16
/** The interval at which an inactive server checks whether the server that calls its handler has ended. */
const attendMs = 2_000
/** The length of the parts of `StoredContent.content`. */
const partBytes = 256 * 1_024

/** A stored file for `onStored`. */
export interface HandledFile extends Omit<CatalogueEntry, 'storedAt'> {
  /** The user whose file it is. */
  readonly user: string
  /** Iterates over the content. Rejects with OspError `gone` if the file was replaced or removed meanwhile. */
  content(): AsyncIterable<Uint8Array>
}

/** How a file is handled. */
export interface HandledHow {
  /** From 1; above 1 if an earlier call has failed. After a restart of the server it is 1 again. */
  readonly attempt: number
  /**
   * Aborts when the server is closed; the server then waits for the handler. In a cluster it also aborts after the other servers have
   * declared this one dead, because another server then calls its handler for the same file.
   */
  readonly signal: AbortSignal
}

/**
 * Handles a stored file. It is called for one file at a time, in the order in which the files were stored, and at least once for
 * each file, even after a crash. If it throws, it is called again for the same file, up to 16 times. In a cluster, one server at a
 * time calls its handler, for the files of all servers that have a handler. After that server has ended, another one continues. If the
 * handler returns a string, its first 4 KiB are the result in the receipt of the owner (`UploadOptions.receipt`).
 */
export type StoredFileHandler = (file: HandledFile, how: HandledHow) => void | string | Promise<void> | Promise<string>

/** A stored file that `onStored` has failed to handle. */
export interface SetAsideFile extends HandledFile {
  /** The number to pass to `return` and `remove`. */
  readonly seq: number
}

/** The stored files for which `onStored` has failed 16 times. They are set aside until they expire, after 30 days (a setting). */
export interface SetAsideFiles {
  list(): Promise<readonly SetAsideFile[]>
  /** Calls `onStored` again for these files, after all others. Resolves when the change is stored. */
  return(seqs: readonly number[]): Promise<void>
  /** Removes these files from the list. They stay stored. Resolves when the change is stored. */
  remove(seqs: readonly number[]): Promise<void>
}

/** Calls the handler of the embedding program for each message in its mailbox. */
export class StoredFileCalls implements SetAsideFiles {
  readonly #context: ServerContext
  readonly #catalogue: Catalogue
  readonly #handler: StoredFileHandler
  readonly #stopping = new AbortController()
  readonly #alarm: Alarm
  /** Aborts when this server may no longer be the only one that calls its handler. */
  #losing = new AbortController()
  #isRunning = false
  #hasMore = false
  #watching: Disposable | undefined
  #ended: Promise<void> = Promise.resolve()

  constructor(context: ServerContext, catalogue: Catalogue, handler: StoredFileHandler) {
    this.#context = context
    this.#catalogue = catalogue
    this.#handler = handler
    this.#alarm = new Alarm(context.platform.clock, () => this.wake())
  }

  /** Starts to handle the messages that are in the mailbox. */
  open(): void {
    this.#watching = this.#context.storage.mailboxes.watch?.((user) => {
      if (user === handlerMailbox) this.wake()
    })
    this.wake()
  }

  /** Starts to handle the messages in the mailbox, unless it is already running. */
  wake(): void {
    this.#hasMore = true
    if (this.#isRunning || this.#stopping.signal.aborted) return
    this.#isRunning = true
    this.#ended = this.#run()
  }

  async list(): Promise<readonly SetAsideFile[]> {
    const { mailboxes } = this.#context.storage
    const all: SetAsideFile[] = []
    for (let afterSeq = 0; ; ) {
      const limits = { most: fixed.batchMessages, mostBytes: fixed.listedBytes }
      const page = await mailboxes.list(handlerMailbox, { aside: true, afterSeq, ...limits })
      for (const message of page) {
        const file = this.#fileOf(message)
        if (file) all.push({ ...file, seq: message.seq })
      }
      const last = page.at(-1)
      if (!last) return all
      afterSeq = last.seq
    }
  }

  async return(seqs: readonly number[]): Promise<void> {
    const { storage, age } = this.#context
    await storage.mailboxes.return(handlerMailbox, seqs, age.now())
    this.wake()
  }

  async remove(seqs: readonly number[]): Promise<void> {
    await this.#context.storage.mailboxes.remove(handlerMailbox, seqs, false, { state: 'rejected' })
  }

  /** Aborts the signal of the running call, because another server can call its handler for the same file. */
  lost(): void {
    this.#losing.abort()
    this.#losing = new AbortController()
  }

  /** Resolves when the handler has returned. */
  async close(): Promise<void> {
    this.#watching?.[Symbol.dispose]()
    this.#alarm.stop()
    this.#stopping.abort()
    await this.#ended
  }

  async #run(): Promise<void> {
    const { clock } = this.#context.platform
    const { signal } = this.#stopping
    const backoff = new Backoff({ clock, ...waits })
    try {
      while (this.#hasMore && !signal.aborted) {
        this.#hasMore = false
        try {
          if (!(await this.#handledBatch())) return
          backoff.reset()
        } catch (error) {
          const { message: text } = OspError.from(error)
          this.#context.log({ level: 'error', event: 'mailbox-failed', user: handlerMailbox, text })
          this.#hasMore = true
          await wait(clock, backoff.next(), signal).catch(() => {})
        }
      }
    } finally {
      // This runs in the same turn as the last check of `#hasMore`, so a message that arrives later starts the loop again.
      this.#isRunning = false
    }
  }

  /** Handles the first messages of the mailbox. Resolves with false if this server must not continue. */
  async #handledBatch(): Promise<boolean> {
    if (!(await this.#attends())) return false
    const { mailboxes } = this.#context.storage
    const messages = await mailboxes.read(handlerMailbox, 0, fixed.batchMessages, fixed.batchBytes)
    for (const message of messages) if (!(await this.#handled(message))) return false
    if (messages.length > 0) this.#hasMore = true
    return true
  }

  /** Resolves with whether this server calls its handler. If it does not, it checks again later. */
  async #attends(): Promise<boolean> {
    const { storage, platform } = this.#context
    if (!storage.mailboxes.attend || (await storage.mailboxes.attend(handlerMailbox))) return true
    if (!this.#stopping.signal.aborted) this.#alarm.by(platform.clock.now() + attendMs)
    return false
  }

  /** Calls the handler for a file. Resolves with false if this server must not continue. */
  async #handled(message: StoredMessage): Promise<boolean> {
    const { storage, log, platform } = this.#context
    const { seq, sender: from } = message
    const file = this.#fileOf(message)
    const logged = { seq, from, name: file?.name }
    const backoff = new Backoff({ clock: platform.clock, ...waits })
    let reason = ''
    for (let attempt = 1; attempt <= mostTries; attempt++) {
      if (!(await this.#attends())) return false
      const signal = AbortSignal.any([this.#stopping.signal, this.#losing.signal])
      if (signal.aborted) return false
      try {
        const result = file && (await this.#handler(file, { attempt, signal }))
        const results = new Map([[seq, cutUtf8(result ?? '')]])
        await storage.mailboxes.remove(handlerMailbox, [seq], false, { state: 'handled', results })
        return true
      } catch (error) {
        reason = OspError.from(error).message
      }
      const retryMs = attempt < mostTries ? backoff.next() : undefined
      log({ level: 'warn', event: 'stored-handler-failed', ...logged, attempt, retryMs, text: reason })
      if (this.#stopping.signal.aborted) return false
      if (retryMs !== undefined) await wait(platform.clock, retryMs, this.#stopping.signal).catch(() => {})
    }
    await storage.mailboxes.setAside(handlerMailbox, [seq], new Map([[seq, cutText(reason)]]))
    log({ level: 'warn', event: 'stored-file-set-aside', ...logged, text: reason })
    return true
  }

  #fileOf({ content }: StoredMessage): HandledFile | undefined {
    const { file } = decodeBody(content).attributes
    if (!file) return undefined
    const { owner: user, fileName: name, size, modifiedAt, version, digest, fileDigest } = file
    const algorithm = digestNames.get(digest)
    const metadata = Object.fromEntries(file.metadata.map(({ key, value }) => [key, value]))
    const verified = algorithm && { algorithm, digest: hex(fileDigest) }
    const contentOf = () => this.#content(user, name, version)
    return { user, name, size, modifiedAt, version, ...verified, metadata, content: contentOf }
  }

  async *#content(user: string, name: string, version: string): AsyncGenerator<Uint8Array> {
    await using file = await this.#catalogue.open(user, name)
    if (file?.version !== version) throw new OspError('gone')
    for (let offset = 0; offset < file.size; ) {
      const part = new Uint8Array(Math.min(partBytes, file.size - offset))
      const bytes = await file.read(part, offset)
      if (bytes === 0) throw new OspError('gone')
      offset += bytes
      yield part.subarray(0, bytes)
    }
  }
}
