import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { Limits } from '../../lib/limits.ts'
import type { LinkEvents, ListeningLink, SessionLink } from '../../lib/ports/links.ts'
import type { Platform } from '../../lib/ports/platform.ts'
import type { Claim, ClaimEnd, TransferRecord } from '../../lib/ports/storage.ts'
import type { FaultyStorage } from './faultyStorage.ts'
import { OtherServers } from './otherServers.ts'
import { ServerRig } from './serverRig.ts'

/** The actions of the other servers of a shared storage, and the calls that the server of the rig has made. */
export interface SharedStorage {
  readonly events: () => LinkEvents
  /** The claims that the server has released. */
  readonly released: Claim[]
  /** The links for which records were removed and files were announced. */
  readonly removers: (SessionLink | undefined)[]
  readonly announcers: (SessionLink | undefined)[]
  readonly readers: (ListeningLink | undefined)[]
  /** The verified records of servers that are dead. */
  abandoned: readonly TransferRecord[]
  /** Ends a claim of the server. */
  end: (claim: Claim, reason: ClaimEnd) => void
  /** Reports that another server has appended messages for this user. */
  appended: (user: string) => void
}

/** Starts a server whose storage is shared with other servers, which the spec simulates. */
export async function sharedRig(
  limits: Partial<Limits> = {},
  platform: Platform = nodePlatform(),
): Promise<ServerRig & { readonly shared: SharedStorage }> {
  const links = new OtherServers()
  const rig = await ServerRig.start(limits, { links, platform })
  const unwatched = () => {
    throw new Error('the server does not watch the storage')
  }
  const shared: SharedStorage = {
    events: () => links.events,
    released: [],
    removers: [],
    announcers: [],
    readers: [],
    abandoned: [],
    end: unwatched,
    appended: unwatched,
  }
  await rig.server.close()
  rig.trouble = (storage) => share(storage, shared)
  await rig.restart()
  return Object.assign(rig, { shared })
}

function share(storage: FaultyStorage, shared: SharedStorage): void {
  const { transfers, mailboxes } = storage
  const watching = (stop: () => void) => ({ [Symbol.dispose]: stop })
  Object.assign(storage, {
    transfers: {
      ...transfers,
      release: async (claim) => void shared.released.push(claim),
      abandoned: async () => shared.abandoned,
      watch: (ended) => {
        shared.end = ended
        return watching(() => {})
      },
      expire: (user, name, before, by) => {
        shared.removers.push(by)
        return transfers.expire(user, name, before)
      },
      remove: (user, name, by, token) => {
        shared.removers.push(by)
        return transfers.remove(user, name, undefined, token)
      },
      announceAll: undefined,
      announce: (file, keepNoteMs, by) => {
        shared.announcers.push(by)
        return transfers.announce(file, keepNoteMs)
      },
    },
    mailboxes: {
      ...mailboxes,
      read: (user, afterSeq, most, mostBytes, reader) => {
        shared.readers.push(reader)
        return mailboxes.read(user, afterSeq, most, mostBytes)
      },
      watch: (appended) => {
        shared.appended = appended
        return watching(() => {})
      },
    },
  } satisfies {
    transfers: { [K in keyof FaultyStorage['transfers']]: FaultyStorage['transfers'][K] | undefined }
    mailboxes: FaultyStorage['mailboxes']
  })
}
