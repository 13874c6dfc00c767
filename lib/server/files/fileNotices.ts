import { textsOf } from '../../core/metadata.ts'
import { OspError } from '../../errors.ts'
import type { Catalogue } from '../../ports/catalogue.ts'
import type { FileNotice, StoredFile, VersionedFile } from '../../ports/storage.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { Backoff } from '../../runtime/backoff.ts'
import { bytesOfHex, hex } from '../../runtime/hex.ts'
import { digestOfParts } from '../../runtime/incrementalDigest.ts'
import { otherMessageId } from '../../runtime/messageId.ts'
import { Mutex } from '../../runtime/mutex.ts'
import type { WireMessage } from '../../wire/message.ts'
import { encodeBody } from '../../wire/messageBody.ts'
import { digestNumbers } from '../../wire/protocol.ts'
import type { ServerContext } from '../app.ts'
import type { PostedMessage } from '../messages/deliveryService.ts'
import type { Grants } from './grants.ts'

/** The delays between attempts to append messages that were refused. */
const waits = { firstMs: 1_000, mostMs: 5_000 } as const

/** A user who gets a message for each stored file of any user. */
export interface NotifyRule {
  readonly user: string
  /** Only files whose names match: `*` stands for any characters, `?` for one. By default all files. */
  readonly pattern?: string | undefined
}

/** The part of MsgApp that sends messages about files. */
export interface NoticeMail {
  /** Resolves with the recipients that have never logged in. Rejects if a recipient does not exist, or if there are too many. */
  check(recipients: readonly string[]): Promise<readonly string[]>
  /** As `MailboxStore.full`. */
  full(messages: readonly PostedMessage[]): readonly string[]
  /** Appends messages of one sender, and delivers them. Resolves with the error of each. */
  append(messages: readonly PostedMessage[]): Promise<readonly (OspError | undefined)[]>
}

/** A message about a file. */
interface FileMessage {
  readonly file: StoredFile
  readonly message: PostedMessage
}

/** The errors of waiting messages, by the user that owns the files. */
type Blocked = Map<string, OspError>

/** The dependencies of FileNotices. */
export interface NoticeHost {
  readonly context: ServerContext
  readonly rules: readonly NotifyRule[]
  readonly mail: NoticeMail
  readonly catalogue: Catalogue
  readonly grants: Grants
  /** Called after messages were appended. */
  readonly appended?: () => void
}

/**
 * Sends messages about stored files to the recipients that the sender has specified, and to the users of the rules.
 *
 * A completed file is not marked as reported until its messages are appended, so after a crash the messages are appended again.
 * Their ids do not change, so each is stored once. While a mailbox has no space for the messages about the files of a user, these
 * messages wait in order, and the server accepts no further files of that user.
 */
export class FileNotices {
  readonly #host: NoticeHost
  readonly #patterns: readonly { readonly user: string; readonly matches: (name: string) => boolean }[]
  readonly #order = new Mutex()
  readonly #alarm: Alarm
  readonly #backoff: Backoff
  /** The users about whose files messages wait, and the errors of these messages. */
  #blocked: Blocked = new Map()
  #isClosed = false

  constructor(host: NoticeHost) {
    this.#host = host
    this.#patterns = host.rules.map(({ user, pattern }) => ({ user, matches: matcherOf(pattern) }))
    const { clock } = host.context.platform
    this.#alarm = new Alarm(clock, () => void this.#retry())
    this.#backoff = new Backoff({ clock, ...waits })
  }

  /** Returns whether one of these files, or of earlier ones, has a message. */
  isNeeded(files: readonly StoredFile[]): boolean {
    return this.#patterns.length > 0 || this.#blocked.size > 0 || files.some(({ notice }) => notice !== undefined)
  }

  /** Throws the error for which messages about earlier files of a user wait, usually `mailbox-full`. */
  checkUnblocked(user: string): void {
    const error = this.#blocked.get(user)
    if (!error) return
    const { code, message, recipients } = error
    const text = `messages about stored files cannot be stored: ${message}`
    throw new OspError(code, text, { recipients, retryAfterMs: waits.firstMs })
  }

  /**
   * Resolves with the recipients that have never logged in. Rejects if the message about a file of `user` cannot be sent to these
   * recipients now.
   */
  async check(user: string, recipients: readonly string[]): Promise<readonly string[]> {
    this.checkUnblocked(user)
    if (recipients.length === 0) return []
    const { mail } = this.#host
    const unseen = await mail.check(recipients).catch((error: unknown) => {
      throw error instanceof OspError ? naming(error) : error
    })
    const full = mail.full([{ sender: user, id: new Uint8Array(16), content: new Uint8Array(longest), recipients }])
    if (full.length > 0) throw naming(new OspError('mailbox-full', undefined, { recipients: full }))
    return unseen
  }

  /** Sends the message about a file that was stored before. Resolves as `check` does, or rejects with the error of the message. */
  async again(file: StoredFile, notice: FileNotice): Promise<readonly string[]> {
    const unseen = await this.check(file.user, notice.recipients)
    if (notice.recipients.length === 0) return unseen
    const message = await this.#message(file, { ...notice, id: bytesOfHex(notice.id) })
    const [error] = await this.#host.mail.append([message])
    if (error && error.code !== 'id-reused') throw error
    return unseen
  }

  /** Appends the messages about files, unless earlier ones wait, and marks the files as reported. Never rejects. */
  report(files: readonly VersionedFile[]): Promise<void> {
    return this.#order.run(async () => {
      await this.#append(files, this.#blocked)
    })
  }

  close(): void {
    this.#isClosed = true
    this.#alarm.stop()
  }

  async #retry(): Promise<void> {
    await this.#order.run(async () => {
      try {
        const files = await this.#host.context.storage.transfers.unreported()
        const blocked: Blocked = new Map()
        await this.#append(files, blocked)
        this.#blocked = blocked
        if (blocked.size === 0) this.#backoff.reset()
      } catch (error) {
        for (const user of this.#blocked.keys()) this.#block(this.#blocked, user, OspError.from(error))
      }
    })
  }

  /** Appends the messages about files, and adds the users whose messages must wait to `blocked`. Never rejects. */
  async #append(files: readonly VersionedFile[], blocked: Blocked): Promise<void> {
    const { transfers } = this.#host.context.storage
    try {
      const refused = new Set<StoredFile>()
      for (const { user, messages } of await this.#batches(files)) {
        // The messages about the files of a user stay in order.
        if (blocked.has(user)) for (const { file } of messages) refused.add(file)
        else {
          for (const [file, error] of await this.#appended(messages)) {
            refused.add(file)
            this.#block(blocked, user, error)
          }
        }
      }
      const sent = files.filter((file) => !refused.has(file))
      if (sent.length > 0) await transfers.reported(sent)
      if (refused.size > 0) await transfers.published?.([...refused])
    } catch (error) {
      for (const { user } of files) this.#block(blocked, user, OspError.from(error))
    }
  }

  /** Resolves with the messages about these files, in order. Groups the messages about successive files of a user. */
  async #batches(files: readonly VersionedFile[]) {
    const batches: { readonly user: string; readonly messages: FileMessage[] }[] = []
    for (const file of files) {
      const { user } = file
      const messages = (await this.#messages(file)).map((message) => ({ file, message }))
      const last = batches.at(-1)
      if (last?.user === user) last.messages.push(...messages)
      else if (messages.length > 0) batches.push({ user, messages })
    }
    return batches
  }

  /**
   * Appends messages about the files of a user, up to the first one that is refused: a later, smaller message must not overtake
   * it. Resolves with the files whose messages were not appended, and the errors.
   */
  async #appended(batch: readonly FileMessage[]): Promise<readonly (readonly [StoredFile, OspError])[]> {
    const { mail, appended } = this.#host
    const refused: (readonly [StoredFile, OspError])[] = []
    let refusal: OspError | undefined
    for (const part of this.#mayBeRefused(batch) ? batch.map((each) => [each]) : [batch]) {
      const errors = refusal ? [] : await mail.append(part.map(({ message }) => message))
      for (const [at, { file }] of part.entries()) {
        // If the id is known, an earlier attempt has appended the message, with another time limit.
        if (errors[at]?.code !== 'id-reused') refusal ??= errors[at]
        if (refusal) refused.push([file, refusal])
      }
    }
    appended?.()
    return refused
  }

  /** Returns whether some of these messages may be refused. */
  #mayBeRefused(batch: readonly FileMessage[]): boolean {
    const { mail, context } = this.#host
    const messages = batch.map(({ message }) => message)
    const isShared = context.storage.mailboxes.watch !== undefined
    // A store of several servers does not know whether a mailbox has space.
    return isShared || messages.some(({ receipt }) => receipt) || mail.full(messages).length > 0
  }

  /** Lets the messages about the files of a user wait until the next attempt. */
  #block(blocked: Blocked, user: string, error: OspError): void {
    const { log, platform } = this.#host.context
    if (!blocked.has(user) && !this.#blocked.has(user)) {
      const { code, message: text, recipients } = error
      log({ level: 'warn', event: 'file-messages-wait', user, code, text, recipients: recipients?.join(', ') })
    }
    blocked.set(user, error)
    if (!this.#isClosed) this.#alarm.by(platform.clock.now() + this.#backoff.next())
  }

  /** Resolves with the messages about a file. */
  async #messages(file: VersionedFile): Promise<readonly PostedMessage[]> {
    const messages: PostedMessage[] = []
    const { notice } = file
    const id = notice && bytesOfHex(notice.id)
    if (notice && notice.recipients.length > 0) messages.push(await this.#message(file, { ...notice, id }))
    const recipients = this.usersOfRules(file)
    const receipt = notice?.receipt
    if (recipients.length > 0)
      messages.push(
        await this.#message(file, { id: receipt ? id && otherMessageId(id) : undefined, recipients, receipt }),
      )
    return messages
  }

  /** Returns the users that the rules of the server notify of a file. */
  usersOfRules({ storedName }: Pick<StoredFile, 'storedName'>): readonly string[] {
    return this.#patterns.filter(({ matches }) => matches(storedName)).map(({ user }) => user)
  }

  /** Resolves with a message. Without `id`, the id follows from the version under which the file was published. */
  async #message(
    file: VersionedFile,
    {
      id,
      recipients,
      receipt,
    }: Omit<FileNotice, 'id' | 'receipt'> & Pick<PostedMessage, 'receipt'> & { id: Uint8Array | undefined },
  ): Promise<PostedMessage> {
    const { context, catalogue, grants } = this.#host
    const { user: owner, storedName: fileName, size, algorithm, digest } = file
    const found = await catalogue.find(owner, fileName)
    // The file can have been replaced or removed meanwhile. Its recipients then get the error `gone`.
    const entry = found?.size === size && found.digest === digest ? found : undefined
    const gone = `gone ${digest}`
    const { version = gone, modifiedAt = 0, metadata = {} } = entry ?? {}
    const published = entry?.version ?? file.version ?? gone
    const until = Math.round(context.age.now() + context.limits.messageAgeMs)
    const granted = { owner, fileName, version, readers: recipients, until }
    const reference = {
      ...granted,
      ...{ size, modifiedAt, metadata: textsOf(metadata) },
      digest: digestNumbers[algorithm],
      fileDigest: bytesOfHex(digest),
      proof: await grants.proof(granted),
    }
    const content = encodeBody({ file: reference, ...(receipt ? { receiptWanted: true } : {}) }, new Uint8Array())
    return { sender: owner, id: id ?? (await this.#idOf(file, published)), content, recipients, receipt }
  }

  async #idOf({ user, storedName, digest }: StoredFile, version: string): Promise<Uint8Array> {
    const { digests } = this.#host.context.platform
    await digests.load('sha256')
    const text = JSON.stringify(['stored', user, storedName, version, digest])
    return digestOfParts(digests, 'sha256', [new TextEncoder().encode(text)]).subarray(0, 16)
  }
}

/** Returns the error with the names of its recipients in the text, since the refusal of an upload has no other place for them. */
function naming(error: OspError): OspError {
  const { code, message, recipients = [] } = error
  return recipients.length > 0 ? new OspError(code, `${message}: ${recipients.join(', ')}`, { recipients }) : error
}

/** An upper bound of the length of most messages about files. */
const longest = 1_024

/** Returns whether a name matches a pattern. */
function matcherOf(pattern: string | undefined): (name: string) => boolean {
  if (pattern === undefined) return () => true
  const parts = Array.from(pattern, (character) => {
    if (character === '*') return '.*'
    return character === '?' ? '.' : character.replace(/[\\^$.|+()[\]{}/-]/u, '\\$&')
  })
  const expression = new RegExp(`^${parts.join('')}$`, 'su')
  return (name) => expression.test(name)
}

/** Returns the notice of a request. */
export function noticeOf({ notice, receipts = 0 }: Partial<WireMessage<'FileMd5Req'>>): FileNotice | undefined {
  const receipt = receipts === 0 ? {} : { receipt: true }
  return notice && { id: hex(notice.messageId), recipients: [...new Set(notice.recipients)], ...receipt }
}
