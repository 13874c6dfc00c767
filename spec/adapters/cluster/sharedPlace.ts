import type { Steps } from '../../../lib/adapters/cluster/steps.ts'
import type { LinkDirectory } from '../../../lib/ports/links.ts'
import type { MailboxStore } from '../../../lib/ports/mailboxes.ts'
import type { Platform } from '../../../lib/ports/platform.ts'
import type { Storage } from '../../../lib/ports/storage.ts'
import type { StoragePlace } from '../../../lib/testing.ts'
import { alteredSteps } from './alteredSteps.ts'
import { SharedDirectory } from './sharedDirectory.ts'

/** Steps whose claims open the session of their link first, since the contract of a storage opens no sessions. */
const withSessions = (steps: Steps): Steps =>
  alteredSteps(steps, async (name, run, given) => {
    if (name === 'transfers.claim') await steps.openSession(given[0] as Parameters<Steps['openSession']>[0], 0)
    return run()
  })

/** Returns mailboxes whose readers listen while they read, since the contract of a storage registers no links. */
function withReaders(mailboxes: MailboxStore, links: LinkDirectory, steps: Steps): MailboxStore {
  const read: MailboxStore['read'] = async (user, afterSeq, most, mostBytes, reader) => {
    if (!reader) return mailboxes.read(user, afterSeq, most, mostBytes)
    const { device } = reader
    const known = await steps.mail.listDevices(user)
    // A registration would make the device known.
    if (device === '' || !known.some(({ name }) => name === device))
      return (await steps.mail.read([{ user, afterSeq, device }], most, mostBytes))[0] ?? []
    const link = { ...reader, session: 'd'.repeat(32) }
    await links.listen(link)
    try {
      return await mailboxes.read(user, afterSeq, most, mostBytes, link)
    } finally {
      await links.unlisten(link, 0)
    }
  }
  const get = (_: unknown, name: keyof MailboxStore) => {
    const member = mailboxes[name]
    return name === 'read' ? read : typeof member === 'function' ? member.bind(mailboxes) : member
  }
  return new Proxy(mailboxes, { get: (target, name) => get(target, name as keyof MailboxStore) })
}

/** Returns a place whose records are in a shared store. Each storage of it belongs to another server, with its own steps. */
export async function sharedPlace(stepsOf: (platform: Platform) => Steps): Promise<StoragePlace> {
  const directory = await SharedDirectory.create()
  let steps: Steps | undefined
  return {
    storage(): Storage {
      const own: Steps = new Proxy({} as Steps, { get: (_, name) => Reflect.get(steps ?? {}, name) })
      const storage = directory.storage(own)
      return {
        transfers: storage.transfers,
        files: storage.files,
        mailboxes: withReaders(storage.mailboxes, storage.links, own),
        catalogue: storage.catalogue,
        async open(platform) {
          steps = withSessions(stepsOf(platform))
          await storage.open(platform)
        },
        [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
      }
    },
    read: (user, name) => directory.read(user, name),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  }
}

/** The cases of the contract that a server of a cluster cannot pass. */
export const clusterExceptions = new Set<string>([
  // Several servers have a shared storage open at the same time.
  'can be opened by one owner at a time',
  // Another server may change a mailbox at any time. `full` returns only mailboxes that have refused a message.
  'are those that the query for full mailboxes uses: it returns the recipients of a refusal, and none for other outcomes',
  'applies to several messages from the second one on, also in the query for full mailboxes',
  // The shared store reports which mailboxes refuse a message, but not whether they refuse messages of all senders.
  'equals the rest: a sender to many recipients leaves space for others, also after a restart',
  'applies to the messages and the bytes of one mailbox',
  // The shared store has no reserve of free space.
  'are checked in this order: the id, the number of ids, the mailboxes, the disk',
])
