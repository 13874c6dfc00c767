import type { SessionLink } from '../../ports/links.ts'
import type { Announcement, Claim, QuotaRoom, VersionedFile } from '../../ports/storage.ts'
import { EarlierFiles } from '../../runtime/earlierFiles.ts'
import { conflictingName, nameConflict } from '../../storage/transfers/claimRules.ts'
import { recordKey } from '../../storage/transfers/recordStore.ts'
import type { StoredNames } from '../../storage/transfers/storedNames.ts'
import type { ClusterClaims } from './clusterClaims.ts'
import type { ClusterMember } from './clusterMember.ts'
import type { ClusterTree } from './clusterTree.ts'
import { untilChanged } from './stepRetries.ts'
import { type Announced, type LinkClaim, sessionLink, type WaitingMarker } from './steps.ts'

type Subject = Pick<Claim, 'user' | 'name'>

/*
 * A file without an upload is announced, and then moved to its name. A server can be frozen between these two steps, and resume
 * after another server has stored a newer file of that name. Nothing can prevent it from calling rename(2), but the rename fails
 * if its source is gone. Therefore the marker of an announced file contains its source until the file is published. A server that
 * later announces or claims the name removes that source before it publishes anything: the earlier file is published either
 * before the later one or never. If it was published, it is reported before the later one is published.
 */

/** The files without an upload that a server of a cluster announces. */
export class ClusterAnnouncements {
  readonly #member: ClusterMember
  readonly #claims: ClusterClaims
  readonly #names: StoredNames
  readonly #tree: Pick<ClusterTree, 'finish' | 'runAs'>

  constructor(
    member: ClusterMember,
    claims: ClusterClaims,
    names: StoredNames,
    tree: Pick<ClusterTree, 'finish' | 'runAs'>,
  ) {
    this.#member = member
    this.#claims = claims
    this.#names = names
    this.#tree = tree
  }

  /** Announces files. Resolves with the error of each that failed, and with the claims that have ended. */
  async announce(
    files: readonly Announcement[],
    until: number,
    by: SessionLink | undefined,
    room: QuotaRoom | undefined,
  ): Promise<{ readonly errors: readonly (Error | undefined)[]; readonly ended: Announced['ended'] }> {
    const names = await this.#unfinishedNames(files.map(({ file }) => file))
    const errors = files.map(({ file: { user, name } }) => {
      const conflict = conflictingName(names.get(user) ?? [], name, this.#names.foldsCase)
      return conflict === undefined ? undefined : nameConflict(name, conflict)
    })
    const announced = files.filter((_, index) => !errors[index])
    const ended = announced.length > 0 ? await this.#announce(announced, until, by, room) : []
    const hasEnded = new Set(ended.map(({ user, name }) => recordKey(user, name)))
    for (const { file } of announced) {
      const { user, name } = file
      await this.#claims.drop(user, name)
      // A frozen server that has verified the upload could otherwise publish it later. A repeated step returns no claims.
      const isLeft = hasEnded.has(recordKey(user, name)) || names.get(user)?.has(name)
      if (isLeft) await this.#names.dropPartial(user, name)
    }
    return { errors, ended }
  }

  /** Resolves with the claims that have ended. */
  async #announce(
    files: readonly Announcement[],
    until: number,
    by: SessionLink | undefined,
    room: QuotaRoom | undefined,
  ): Promise<readonly LinkClaim[]> {
    return untilChanged(async () => {
      const { changes, waiting, unfinished, isOverQuota, ended } = await this.#tree.runAs(({ transfers }, server) =>
        transfers.announce(server, files, until, by && sessionLink(server, by.user, by), room),
      )
      if (isOverQuota && room) throw room.refusal()
      if (waiting.length === 0 && unfinished.length === 0 && changes.length === 0) return ended
      await settleWaiting(this.#member, this.#names, waiting)
      if (unfinished.length > 0) throw new EarlierFiles({ unfinished })
      await this.#tree.finish(changes)
    })
  }

  /**
   * Resolves with the unreported stored files of this server and of dead servers, or only of dead servers. Removes the markers of
   * files that were not stored.
   */
  async unreported(ofEnded: boolean): Promise<readonly VersionedFile[]> {
    const files: VersionedFile[] = []
    // No server has the number 0.
    const found = await this.#member.run(({ transfers }) => transfers.unreported(ofEnded ? 0 : this.#member.server))
    for (const announced of found)
      if (await settleAnnounced(this.#member, this.#names, announced)) files.push(versionedFile(announced))
    return files
  }

  /** Returns the names of the unfinished uploads of these users. */
  async #unfinishedNames(files: readonly Subject[]): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
    const names = new Map<string, ReadonlySet<string>>()
    for (const user of new Set(files.map(({ user }) => user))) {
      const own = new Set<string>()
      for await (const { name } of this.#claims.records(user)) own.add(name)
      names.set(user, own)
    }
    return names
  }
}

/**
 * Keeps a frozen server from publishing an announced file later, and records whether the file was published. Resolves with whether
 * it was. A file without a source was published, even if it is not stored any more.
 */
export async function settleAnnounced(
  member: ClusterMember,
  names: StoredNames,
  { file, version, source }: Announcement,
): Promise<boolean> {
  if (source === undefined) return true
  const { user, name, storedName } = file
  await names.discard?.(source)
  const isStored = (await names.version(user, storedName)) === version || (await names.isIntact(file))
  await member.run(({ transfers }) => transfers.settle([{ user, name, source, isStored }]))
  // The name of an announced file may not be durable yet.
  if (isStored) await names.flushName?.(user, storedName)
  return isStored
}

/**
 * Settles the markers that a change must not replace. Resolves if the change can be tried again. Rejects with EarlierFiles if some of
 * the files were published, but not reported.
 */
export async function settleWaiting(
  member: ClusterMember,
  names: StoredNames,
  waiting: readonly WaitingMarker[],
): Promise<void> {
  const own: VersionedFile[] = []
  const others: VersionedFile[] = []
  for (const marker of waiting) {
    // After this, the next attempt finds it only if it was published and not reported.
    if (marker.source !== undefined) await settleAnnounced(member, names, marker)
    else (marker.server === member.server ? own : others).push(versionedFile(marker))
  }
  if (own.length + others.length > 0) throw new EarlierFiles({ own, others })
}

const versionedFile = ({ file, version }: Announcement): VersionedFile => ({ ...file, version })
