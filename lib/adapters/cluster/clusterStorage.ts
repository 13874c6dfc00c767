import { OspError } from '../../errors.ts'
import type { Log } from '../../ports/log.ts'
import type { Digests, Platform } from '../../ports/platform.ts'
import type { FileStore, Storage } from '../../ports/storage.ts'
import { StoredCatalogue } from '../../storage/catalogue/storedCatalogue.ts'
import type { StoredNames } from '../../storage/transfers/storedNames.ts'
import { settleAnnounced } from './clusterAnnouncements.ts'
import { ClusterClaims } from './clusterClaims.ts'
import { ClusterFileRecords } from './clusterFileRecords.ts'
import { ClusterLinks } from './clusterLinks.ts'
import { ClusterMailboxes } from './clusterMailboxes.ts'
import { ClusterMember } from './clusterMember.ts'
import { ClusterTransfers } from './clusterTransfers.ts'
import { ClusterTree, type FencedFiles } from './clusterTree.ts'
import { OutcomeUnknown, type ServerInfo, type Steps } from './steps.ts'

/** Partial and published files that several servers share. */
export interface ClusterFiles extends FileStore, StoredNames, FencedFiles {
  prepare(): Promise<void>
  close(): Promise<void>
}

/** Returns a store of files that `claims` guard. `digests` returns those of the platform of the open storage. */
export type OpenClusterFiles = (claims: ClusterClaims, digests: () => Digests) => ClusterFiles

/** Returns the uploads and the stored files of a cluster. `claims` guard `files`. */
export function filesOfCluster(member: ClusterMember, claims: ClusterClaims, files: ClusterFiles) {
  const tree = new ClusterTree(member, files, async (unpublished) => {
    for (const announced of unpublished) await settleAnnounced(member, files, announced)
  })
  const records = new ClusterFileRecords(member)
  const digests = () => member.platform.digests
  return {
    transfers: new ClusterTransfers(member, claims, files, tree),
    catalogue: new StoredCatalogue(tree, { describe: (keys) => records.get(keys) }, records, digests),
  }
}

/** The storage of one server of a cluster: its records are in a shared store, and its files are in a shared directory. */
export class ClusterStorage implements Storage {
  /** The links of all servers. They are opened after the storage. */
  readonly links: ClusterLinks
  readonly mailboxes: ClusterMailboxes
  readonly transfers: ClusterTransfers
  readonly files: ClusterFiles
  readonly catalogue: StoredCatalogue
  /** The server itself. */
  readonly member: ClusterMember

  /** `steps` must not be open yet, and must be used by this storage only. */
  constructor(steps: Steps, info: Omit<ServerInfo, 'boot'>, openFiles: OpenClusterFiles, log?: Log) {
    const member = new ClusterMember(steps, info, log)
    const claims = new ClusterClaims(member)
    this.member = member
    this.links = new ClusterLinks(member)
    this.mailboxes = new ClusterMailboxes(member, this.links)
    this.files = openFiles(claims, () => member.platform.digests)
    const { transfers, catalogue } = filesOfCluster(member, claims, this.files)
    this.transfers = transfers
    this.catalogue = catalogue
  }

  async open(platform: Platform): Promise<void> {
    try {
      await this.member.open(platform)
      await this.files.prepare()
    } catch (error) {
      await this[Symbol.asyncDispose]()
      const { code, message, cause } = OspError.from(error)
      // The store did not answer a step that was repeated.
      if (code === 'internal' && cause instanceof OutcomeUnknown) throw new OspError('unreachable', message, { cause })
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.files.close()
    await this.mailboxes.close()
    await this.member[Symbol.asyncDispose]()
  }
}
