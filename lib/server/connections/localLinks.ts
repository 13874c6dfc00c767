import { BoundedMap } from '../../core/boundedMap.ts'
import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { deviceKey } from '../../names.ts'
import type { LinkDirectory, LinkEvents, ListeningLink, SessionLink } from '../../ports/links.ts'
import type { MailboxStore } from '../../ports/mailboxes.ts'
import type { Platform } from '../../ports/platform.ts'
import type { PresenceMember } from '../../ports/presence.ts'

/** The links of a server that shares its storage with no other. Each call takes effect at once. */
export class LocalLinks implements LinkDirectory {
  /** The link of each session of a user. */
  readonly #sessions = new Map<string, { readonly node: number; readonly attempt: number }>()
  /** The listening registration of each device. */
  readonly #listening = new Map<string, ListeningLink>()
  readonly #superseded = new SupersededSessions()
  #events: LinkEvents | undefined
  #node = 0
  /** The last message that was stored when the server started: an earlier run may have sent the messages up to it. */
  #handed = 0

  async open(_platform: Platform, mailboxes: Pick<MailboxStore, 'lastSeq'>): Promise<void> {
    this.#handed = await mailboxes.lastSeq()
  }

  watch(events: LinkEvents): Disposable {
    this.#events = events
    const dispose = () => {
      this.#events = undefined
    }
    return { [Symbol.dispose]: dispose }
  }

  nextNode(): number {
    return ++this.#node
  }

  async openSession(link: SessionLink, attempt: number): Promise<void> {
    const { node } = link
    const key = keyOf(link)
    const former = this.#sessions.get(key)
    // A HELLO_REQ can be processed after a later one.
    if (former && former.attempt > attempt) throw new OspError('link-replaced')
    this.#sessions.set(key, { node, attempt })
    if (former && former.node !== node) this.#events?.ended(former.node, 'link-replaced', node)
  }

  closeSession(link: SessionLink): void {
    const key = keyOf(link)
    if (this.#sessions.get(key)?.node === link.node) this.#sessions.delete(key)
  }

  async listen(link: ListeningLink): Promise<{ readonly handed: number }> {
    const { session, node } = link
    const device = deviceKey(link)
    if (this.#superseded.has(device, session)) throw new OspError('superseded')
    const former = this.#listening.get(device)
    this.#listening.set(device, link)
    if (former && former.node !== node) {
      if (former.session !== session) this.#superseded.add(device, former.session)
      this.#events?.ended(former.node, 'superseded', node)
    }
    return { handed: this.#handed }
  }

  async unlisten(link: ListeningLink, _handed: number): Promise<void> {
    const device = deviceKey(link)
    if (this.#listening.get(device)?.epoch === link.epoch) this.#listening.delete(device)
  }

  others(): Iterable<PresenceMember> {
    return []
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

function keyOf({ user, session }: SessionLink): string {
  return `${user}/${session}`
}

/**
 * Remembers sessions whose registration was superseded by another of the same device, so that they cannot take the registration
 * back.
 */
export class SupersededSessions {
  /** The sessions of each device of a user, least recently superseded first. */
  readonly #sessions = new BoundedMap<string, readonly string[]>(fixed.rememberedUsers)

  add(device: string, session: string): void {
    const others = (this.#sessions.get(device) ?? []).filter((other) => other !== session)
    this.#sessions.set(device, [...others, session].slice(-fixed.supersededSessions))
  }

  has(device: string, session: string): boolean {
    return this.#sessions.get(device)?.includes(session) ?? false
  }
}
