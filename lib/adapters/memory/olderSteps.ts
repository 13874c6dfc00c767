import type { Steps, TransferSteps } from '../cluster/steps.ts'
import type { RecordedFiles } from './sharedStoredFiles.ts'
import type { SharedTransfers } from './sharedTransfers.ts'

type SharedTransferSteps = { readonly [K in keyof SharedTransfers]: SharedTransfers[K] }

/** The version of the schema whose servers use `olderTransfers`. */
export const olderVersion = '1'

/** These servers do not record stored files, and ignore changes of stored files. */
const unrecorded: RecordedFiles = { of: () => [], changesOf: () => [], abandoned: () => [], add() {}, forget() {} }

/** Returns the steps of uploads as the functions of version 1 of the schema implement them. */
export function olderTransfers(transfers: SharedTransferSteps): TransferSteps {
  return {
    ...transfers,
    claim: (by, upload, decide, isRecovery) => {
      const decideOlder: typeof decide = async (found) => {
        const decision = await decide(found)
        if ('completed' in decision) return decision
        // These columns keep their values.
        const { metadata, storeAs } = found.record ?? {}
        return { ...decision, record: { ...decision.record, metadata, storeAs } }
      }
      return transfers.claim(by, upload, decideOlder, isRecovery, unrecorded)
    },
    verified: (...given) => transfers.verified(...given, unrecorded),
    complete: (...given) => transfers.complete(...given, unrecorded),
    announce: (server, files, until, by, room) => transfers.announce(server, files, until, by, room, unrecorded),
    settle: (files) => transfers.settle(files, unrecorded),
    forget: (...given) => transfers.forget(...given, unrecorded),
    abandoned: () => transfers.abandoned(unrecorded),
  }
}

/** Returns the steps of mailboxes in the same version, in which messages have no time to live. */
export function olderMail(mail: Steps['mail']): Steps['mail'] {
  return {
    ...mail,
    post: (server, messages, ...others) =>
      mail.post(
        server,
        messages.map(({ expiresAt: _, ...message }) => message),
        ...others,
      ),
    poll: async (server, links) => {
      const { nextExpiry: _, ...found } = await mail.poll(server, links)
      return found
    },
    expire: (server, messagesBefore, idsBefore, most) => mail.expire(server, messagesBefore, idsBefore, most),
  }
}
