import type { MailboxStore, StoredMessage } from '../../lib/ports/mailboxes.ts'
import type { Digests } from '../../lib/ports/platform.ts'
import { hex } from '../../lib/runtime/hex.ts'
import { decodeBody } from '../../lib/wire/messageBody.ts'
import { digestNames } from '../../lib/wire/protocol.ts'
import type { Trace } from './trace.ts'

/** The user who gets a message for each stored file. No program of a world has this name. */
export const notified = 'ingest'

interface NoticeParts {
  readonly trace: Trace
  readonly machine: { readonly digests: Digests }
  readonly disk: { readonly rot?: { readonly anyUpload: boolean } }
}

/** A file that was published. */
interface Published {
  readonly path: string
  readonly version: string
  readonly bytes: Uint8Array
  /** Whether it was replaced, removed or renamed. */
  isGone: boolean
}

/** Checks the messages about stored files: one for each published file, and none about another file. */
export class FileNotices {
  /** Whether the server sends such messages. */
  isOn = false
  /**
   * Whether several servers send them. A server can then replace a file whose upload another server has published, but not completed
   * because it was frozen. Such a file has no message, and its client gets no reply.
   */
  isShared = false
  readonly #parts: NoticeParts
  readonly #published: Published[] = []
  /** The versions whose records a shared store may have lost. */
  readonly unsure = new Set<string>()

  constructor(parts: NoticeParts) {
    this.#parts = parts
  }

  published(path: string, version: string, bytes: Uint8Array): void {
    this.gone(path)
    this.#published.push({ path, version, bytes, isGone: false })
  }

  /** The shared store is about to lose its changes. Returns a function that is called when they are lost. */
  losing(): () => void {
    const first = this.#published.length
    return () => {
      for (const { version } of this.#published.slice(first)) this.unsure.add(version)
    }
  }

  gone(path: string): void {
    for (const each of this.#published) if (each.path === path) each.isGone = true
  }

  /** Checks the mailbox at the end of a run. */
  async settled(mailboxes: Pick<MailboxStore, 'read'>): Promise<void> {
    if (!this.isOn) return
    const messages = await mailboxes.read(notified, 0, 100_000, Number.MAX_SAFE_INTEGER)
    const found = new Set<string>()
    for (const { content } of messages) {
      const { file } = decodeBody(content).attributes
      if (!file) return this.#parts.trace.fail(`a message to ${notified} has no reference`)
      const path = `${file.owner}/${file.fileName}`
      const known = this.#published.filter((each) => each.path === path && this.#hasDigest(each, file))
      const version = known.find((each) => each.version === file.version)
      if (!version && (known.length === 0 || !file.version.startsWith('gone ')))
        return this.#parts.trace.fail(`a message is about version ${file.version} of ${path}, which was never stored`)
      const name = `${path} ${file.version}`
      if (version && found.has(name)) return this.#parts.trace.fail(`there are two messages about ${name}`)
      found.add(name)
    }
    // Without its record, a file is not reported.
    if (!this.#parts.disk.rot?.anyUpload) this.#checkComplete(messages)
  }

  /** Checks that each published file has a message. */
  #checkComplete(messages: readonly StoredMessage[]): void {
    const files = messages.flatMap(({ content }) => decodeBody(content).attributes.file ?? [])
    for (const each of this.#published) {
      if ((this.isShared && each.isGone) || this.unsure.has(each.version)) continue
      const isOf = (file: (typeof files)[number]) => `${file.owner}/${file.fileName}` === each.path
      if (!files.some((file) => isOf(file) && this.#hasDigest(each, file)))
        this.#parts.trace.fail(`there is no message about version ${each.version} of ${each.path}`)
    }
  }

  #hasDigest({ bytes }: Published, file: { readonly digest: number; readonly fileDigest: Uint8Array }): boolean {
    const digest = this.#parts.machine.digests.create(digestNames.get(file.digest) ?? 'sha256')
    digest.update(bytes)
    return hex(digest.digest()) === hex(file.fileDigest)
  }
}
