import type { AddressedMessage, MailboxStore } from '../../lib/ports/mailboxes.ts'
import type { Digests } from '../../lib/ports/platform.ts'
import type { StoredFile } from '../../lib/ports/storage.ts'
import { hex } from '../../lib/runtime/hex.ts'
import { type Attributes, decodeBody } from '../../lib/wire/messageBody.ts'
import { digestNames } from '../../lib/wire/protocol.ts'
import type { SimulatedFile } from './files.ts'
import type { MessageInvariants } from './messageInvariants.ts'
import { keyOf, Post } from './post.ts'
import type { Trace } from './trace.ts'

/** The user who gets a message for each stored file. */
export const notified = 'ingest'

export interface NoticeParts {
  readonly trace: Trace
  readonly machine: { readonly digests: Digests }
  readonly files: readonly SimulatedFile[]
  readonly disk: { readonly rot?: { readonly anyUpload: boolean; lostOf(user: string): number } }
  readonly mail: { readonly users: readonly string[]; readonly invariants: MessageInvariants }
}

/** The messages that the server sends for each file, and those that are sent with an upload. */
type Kind = 'rule' | 'sent'

type FileReference = NonNullable<Attributes['file']>
type Notice = Pick<AddressedMessage, 'sender' | 'id' | 'content' | 'recipients' | 'receipt'>

/** A file that was published. */
interface Published {
  readonly path: string
  readonly version: string
  readonly bytes: Uint8Array
  /**
   * The moments at which its publication began and at which the server reported it. Files that are stored at the same time have no
   * order.
   */
  readonly begunAt: number
  reportedAt: number
}

/** Checks the messages about stored files: one for each published file, in order, and none about another file. */
export class FileNotices {
  /** Whether the server sends such messages. */
  isOn = false
  /**
   * Whether several servers send them. They keep the order of each name: a server completes an upload some time after its publication,
   * and small files before theirs.
   */
  isShared = false
  readonly #parts: NoticeParts
  readonly #published: Published[] = []
  #moment = 0
  /** The versions whose records a shared store may have lost. */
  readonly unsure = new Set<string>()
  /** The references in the messages that were appended: to the user who gets a message for each file, and to those to whom it is sent. */
  readonly #appended: { readonly [K in Kind]: FileReference[] } = { rule: [], sent: [] }
  /** The references by the keys of their messages. */
  readonly #references = new Map<string, FileReference>()
  /** The messages that a server has begun to append, by key. */
  readonly #posts = new Map<string, Post>()
  /** By user, or by path if there are several servers: the latest beginning of a publication whose message was appended. */
  readonly #latest = new Map<string, number>()
  /** The versions that have a message of each kind. A later upload of a stored file sends another one to its users. */
  readonly #noticed: { readonly [K in Kind]: Set<Published> } = { rule: new Set(), sent: new Set() }

  constructor(parts: NoticeParts) {
    this.#parts = parts
  }

  published(path: string, version: string, bytes: Uint8Array, begunAt = this.nextMoment()): void {
    const reportedAt = this.isShared ? this.nextMoment() : Number.POSITIVE_INFINITY
    this.#published.push({ path, version, bytes, begunAt, reportedAt })
  }

  /** The only server reports a stored file. */
  reported({ user, storedName, size }: Pick<StoredFile, 'user' | 'storedName' | 'size'>): void {
    const path = `${user}/${storedName}`
    const file = this.#published.findLast((each) => each.path === path && each.bytes.length === size)
    if (file?.reportedAt === Number.POSITIVE_INFINITY) file.reportedAt = this.nextMoment()
  }

  nextMoment(): number {
    return ++this.#moment
  }

  /** The shared store is about to lose its changes. Returns a function that is called when they are lost. */
  losing(): () => void {
    const first = this.#published.length
    return () => {
      for (const { version } of this.#published.slice(first)) this.unsure.add(version)
    }
  }

  /** A server is about to append messages. From now on, the messages about files can be delivered. */
  appending(messages: readonly Notice[]): void {
    for (const { sender, id, recipients, receipt = false } of messages.filter(this.isNotice)) {
      const number = this.#posts.size + 1
      const own = { program: `files of ${sender}`, number, to: recipients, asksReceipts: receipt }
      const empty = { forged: false, poison: false, timeToLiveMs: undefined, content: new Uint8Array() }
      const post = new Post({ sender, id, ...own, ...empty })
      if (this.#posts.has(post.key)) continue
      this.#posts.set(post.key, post)
      this.#parts.mail.invariants.noticed(post)
    }
  }

  /** A message was appended. */
  appended(message: Notice): void {
    if (!this.isNotice(message)) return
    const { file } = decodeBody(message.content).attributes
    const version = file && this.#checkReference(file)
    const key = keyOf(message.sender, message.id)
    const kind = message.recipients.includes(notified) ? 'rule' : 'sent'
    if (file) {
      this.#appended[kind].push(file)
      this.#references.set(key, file)
    } else this.#parts.trace.fail('a message about a file has no reference')
    const post = this.#posts.get(key)
    // A message that is appended again is stored once. An upload that has published a file again, after its removal, has one message.
    const isRepeated = post?.outcome === 'acknowledged'
    // A later upload under another name can send a message about a renamed file, which follows messages about later files.
    if (post && file && version?.path === pathOf(file)) {
      if (!isRepeated && !this.#noticed[kind].has(version)) this.#checkOrder(version)
      this.#noticed[kind].add(version)
    }
    if (!post || isRepeated) return
    this.#parts.mail.invariants.acknowledged(
      post,
      post.recipients.map((recipient) => ({ recipient, status: 'stored' })),
    )
  }

  /** Returns the reference in a message about a file. */
  referenceOf(key: string): FileReference | undefined {
    return this.#references.get(key)
  }

  /** Checks the mailbox at the end of a run. */
  async settled(mailboxes: Pick<MailboxStore, 'read'>): Promise<void> {
    if (!this.isOn) return
    const found = await mailboxes.read(notified, 0, 100_000, Number.MAX_SAFE_INTEGER)
    const messages = found.filter((message) => this.isNotice(message))
    const files = messages.flatMap(({ content }) => decodeBody(content).attributes.file ?? [])
    if (files.length < messages.length) this.#parts.trace.fail(`a message to ${notified} has no reference`)
    const names = new Set<string>()
    for (const file of files) {
      if (!this.#checkReference(file)) continue
      const name = `${file.owner}/${file.fileName} ${file.version}`
      if (names.has(name)) this.#parts.trace.fail(`there are two messages about ${name}`)
      names.add(name)
    }
    // Without its record, a file is not reported.
    if (this.#parts.disk.rot?.anyUpload) return
    // A program handles the messages: its checks show that each appended message arrives.
    const hasProgram = this.#parts.mail.users.includes(notified)
    const lost = hasProgram ? 0 : this.#parts.disk.rot?.lostOf(notified)
    this.#checkComplete(this.#published, hasProgram ? this.#appended.rule : files, lost)
    const paths = new Set(this.#parts.files.flatMap(({ storedPath, to }) => (to.length > 0 ? [storedPath] : [])))
    this.#checkComplete(
      this.#published.filter(({ path }) => paths.has(path)),
      this.#appended.sent,
    )
  }

  /** Any message of the owner of a file is about a file. */
  readonly isNotice = ({ sender }: Pick<Notice, 'sender'>): boolean => {
    return this.isOn && this.#parts.files.some(({ user }) => user === sender)
  }

  /** Checks that a message is about a version that was stored. Returns the version, unless the file was gone before the message. */
  #checkReference(file: FileReference): Published | undefined {
    const path = pathOf(file)
    const known = this.#published.filter((each) => this.#hasDigest(each, file))
    // A file that was given another name keeps its version. A later upload under that name can send another message about it.
    const version = known.find((each) => each.version === file.version)
    const isGone = file.version.startsWith('gone ') && known.some((each) => each.path === path)
    if (!version && !isGone)
      this.#parts.trace.fail(`a message is about version ${file.version} of ${path}, which was never stored`)
    return version
  }

  /** Checks that the messages about the files of a user are appended in the order in which these were published. */
  #checkOrder(version: Published): void {
    const { path } = version
    const key = this.isShared ? path : path.slice(0, path.indexOf('/'))
    const latest = this.#latest.get(key) ?? 0
    if (version.reportedAt < latest)
      this.#parts.trace.fail(`the message about version ${version.version} of ${path} follows one about a later file`)
    this.#latest.set(key, Math.max(version.begunAt, latest))
  }

  /** Checks that each of these files has a message, apart from this number of lost messages. */
  #checkComplete(published: readonly Published[], files: readonly FileReference[], lost = 0): void {
    const missing = published.filter((each) => {
      if (this.unsure.has(each.version)) return false
      return !files.some((file) => pathOf(file) === each.path && this.#hasDigest(each, file))
    })
    const [first] = missing
    if (first && missing.length > lost)
      this.#parts.trace.fail(`there is no message about version ${first.version} of ${first.path}`)
  }

  #hasDigest({ bytes }: Published, file: Pick<FileReference, 'digest' | 'fileDigest'>): boolean {
    const digest = this.#parts.machine.digests.create(digestNames.get(file.digest) ?? 'sha256')
    digest.update(bytes)
    return hex(digest.digest()) === hex(file.fileDigest)
  }
}

const pathOf = ({ owner, fileName }: FileReference) => `${owner}/${fileName}`
