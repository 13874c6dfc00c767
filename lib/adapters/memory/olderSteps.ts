import { OspError } from '../../errors.ts'
import type { FileSteps } from '../cluster/fileSteps.ts'
import type { TransferSteps } from '../cluster/steps.ts'
import type { SharedTransfers } from './sharedTransfers.ts'

type SharedTransferSteps = { readonly [K in keyof SharedTransfers]: SharedTransfers[K] }

/** The version of the schema whose servers use these steps. */
export const olderVersion = '2'

/**
 * Returns the steps of uploads as the functions of version 2 of the schema implement them. They replace markers of files that were
 * not reported, and verified records.
 */
export function olderTransfers(transfers: SharedTransferSteps): TransferSteps {
  return {
    ...transfers,
    verified: (claim, file, stamp) => transfers.verified(claim, file, stamp, true),
    announce: (server, files, until, by, room) => transfers.announce(server, files, until, by, room, true),
    forget: (want, digest) => transfers.forget(want, digest, true),
    reported: (files) => transfers.reported(files.map(({ version: _, ...file }) => file)),
  }
}

/** Returns the steps of stored files in the same version, which do not return verified uploads. */
export function olderFiles(files: FileSteps): FileSteps {
  return {
    ...files,
    begin: async (...given) => {
      const found = await files.begin(...given)
      if (found.unfinished.length > 0) throw new OspError('file-busy')
      return found
    },
  }
}
