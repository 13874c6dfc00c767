import { OspError } from '../../errors.ts'
import { checkStoredName, checkUserName } from '../../names.ts'
import type { SessionLink } from '../../ports/links.ts'
import type { Damage } from '../../ports/mailboxes.ts'
import type {
  Announcement,
  Checkpoint,
  Claim,
  ClaimEnd,
  Claimed,
  ClaimOptions,
  NewTransfer,
  Owner,
  QuotaRoom,
  SettledFile,
  StoredFile,
  TransferRecord,
  TransferStore,
  UnfinishedTotals,
  VersionedFile,
} from '../../ports/storage.ts'
import { GroupCommit, type Uncommitted } from '../../runtime/groupCommit.ts'
import { KeyedMutex } from '../../runtime/mutex.ts'
import {
  checkNotSuperseded,
  checkNotVerified,
  checkRecovery,
  checkUploadCount,
  conflictingName,
  continuedBy,
  nameConflict,
  reservedFor,
  sameUpload,
  storeAsOf,
  supersededBy,
  uploadOf,
} from '../../storage/transfers/claimRules.ts'
import { endedClaimError, recordKey } from '../../storage/transfers/recordStore.ts'
import type { StoredNames } from '../../storage/transfers/storedNames.ts'
import { ClusterAnnouncements, settleWaiting } from './clusterAnnouncements.ts'
import type { ClusterClaims } from './clusterClaims.ts'
import { ClusterCompletions, type ReadContent, UnreadContent } from './clusterCompletions.ts'
import type { ClusterMember } from './clusterMember.ts'
import type { ClusterTree } from './clusterTree.ts'
import { PendingChanges } from './fileSteps.ts'
import { ignoreFailedStep, untilChanged } from './stepRetries.ts'
import { type ClaimDecision, type FoundUpload, type Notice, sessionLink } from './steps.ts'

/** The time between two attempts to release an upload while the store is unreachable. */
const retryMs = 1_000
/** The maximum number of uploads whose checkpoints are stored in one step. */
const mostCheckpoints = 500

type Subject = Pick<Claim, 'user' | 'name'>

/** Checkpoints of one upload, which are stored in one step with those of other uploads. */
interface CheckpointItem {
  readonly claim: Claim
  readonly checkpoints: readonly Checkpoint[]
  readonly at: number
}

/** The uploads of a shared store, as one of its servers accesses them. */
export class ClusterTransfers implements TransferStore {
  readonly #member: ClusterMember
  readonly #claims: ClusterClaims
  readonly #names: StoredNames
  readonly #tree: Pick<ClusterTree, 'finish' | 'runAs'>
  readonly #announcements: ClusterAnnouncements
  readonly #completions: ClusterCompletions
  /** Serializes the calls for each upload. */
  readonly #changes = new KeyedMutex()
  readonly #checkpoints: GroupCommit<CheckpointItem>
  readonly #watchers = new Set<(claim: Claim, reason: ClaimEnd) => void>()

  /** `names` and `tree` belong to the file store that `claims` guard. */
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
    this.#completions = new ClusterCompletions(member, names)
    this.#announcements = new ClusterAnnouncements(member, claims, names, tree)
    this.#checkpoints = new GroupCommit({ commit: (group) => this.#checkpoint(group) })
    member.listen({ heard: (notice) => this.#heard(notice), polled: () => this.#findEnded() })
  }

  claim(want: NewTransfer, owner: Owner, options: ClaimOptions): Promise<Claimed> {
    return this.#change(want, async () => {
      checkUserName(want.user)
      checkStoredName(want.name)
      let read: ReadContent | undefined
      return untilChanged(async () => {
        try {
          return await this.#claim(want, owner, options, read)
        } catch (error) {
          // The content is read outside the step, which has a time limit.
          if (error instanceof UnreadContent)
            read = { version: error.version, isIntact: await this.#names.isIntact(error.file) }
          else if (error instanceof PendingChanges) await this.#tree.finish(error.changes)
          else throw error
        }
      })
    })
  }

  async checkpoint(claim: Claim, checkpoints: readonly Checkpoint[], at: number): Promise<void> {
    // Copies the bytes, since they may be part of a larger buffer.
    const own = checkpoints.map(({ offset, digest }) => ({ offset, digest: Uint8Array.from(digest) }))
    await this.#change(claim, () =>
      this.#claims.guard(claim, () => this.#checkpoints.add({ claim, checkpoints: own, at })),
    )
  }

  verified(claim: Claim, file: StoredFile): Promise<void> {
    return this.#change(claim, () =>
      this.#claims.guard(claim, async () => {
        const { modifiedAt } = this.#claims.record(claim.user, claim.name) ?? {}
        if (modifiedAt !== undefined) await this.#names.setModifiedAt?.(claim.user, claim.name, modifiedAt)
        const stamp = (await this.#names.partialVersion?.(claim.user, claim.name)) ?? ''
        await this.#mark(claim, file, stamp)
        this.#claims.update(claim, { verified: file, verifiedStamp: stamp })
      }),
    )
  }

  async #mark(claim: Claim, file: StoredFile, stamp: string): Promise<void> {
    await untilChanged(async () => {
      const { holds, changes, waiting } = await this.#tree.runAs(({ transfers }) =>
        transfers.verified(claim, file, stamp),
      )
      if (!holds) throw endedClaimError(claim)
      if (changes.length === 0 && waiting.length === 0) return true
      await settleWaiting(this.#member, this.#names, waiting)
      await this.#tree.finish(changes)
    })
  }

  complete(claim: Claim, keepNoteMs: number): Promise<string | undefined> {
    return this.#change(claim, async () => {
      const version = await this.#claims.guard(claim, async () => {
        const until = this.#wallTime + keepNoteMs
        const holds = await this.#member.run(({ transfers }) => transfers.complete(claim, until))
        if (!holds) throw endedClaimError(claim)
        return this.#claims.record(claim.user, claim.name)?.verifiedStamp
      })
      await this.#claims.drop(claim.user, claim.name)
      return version
    })
  }

  async announce(file: Announcement, keepNoteMs: number, by?: SessionLink): Promise<void> {
    const [error] = await this.announceAll([file], keepNoteMs, by)
    if (error) throw error
  }

  announceAll(
    files: readonly Announcement[],
    keepNoteMs: number,
    by?: SessionLink,
    room?: QuotaRoom,
  ): Promise<readonly (Error | undefined)[]> {
    const subjects = files.map(({ file }) => file)
    return this.#changeAll(subjects, async () => {
      const { errors, ended } = await this.#announcements.announce(files, this.#wallTime + keepNoteMs, by, room)
      for (const { server, token } of ended) this.#tell(server, token, 'superseded')
      return errors
    })
  }

  async settled(files: readonly SettledFile[]): Promise<void> {
    this.#member.checkOpen()
    await this.#member.run(({ transfers }) => transfers.settle(files))
  }

  async reported(files: Parameters<TransferStore['reported']>[0]): Promise<void> {
    this.#member.checkOpen()
    await this.#member.run(({ transfers }) => transfers.reported(files))
  }

  async unreported(ofEnded = false): Promise<readonly VersionedFile[]> {
    this.#member.checkOpen()
    return this.#announcements.unreported(ofEnded)
  }

  remove(user: string, name: string, by?: SessionLink, token?: number): Promise<boolean> {
    return this.#change({ user, name }, async () => {
      const former = await this.#member.runAs(({ transfers }, server) =>
        transfers.remove(user, name, by && sessionLink(server, user, by), token),
      )
      await this.#claims.drop(user, name)
      if (former) this.#tell(former.server, former.token, 'cancelled')
      // A repeated step finds no record.
      return former !== undefined || (token !== undefined && (await this.#isCancelled(token)))
    })
  }

  expire(user: string, name: string, before: number, by?: SessionLink): Promise<TransferRecord | undefined> {
    return this.#change({ user, name }, async () => {
      const own = this.#claims.record(user, name)
      // The store does not expire an upload that is held, even if this server holds it.
      if (!by && own && !own.verified && own.updatedAt < before) await this.#release(own)
      const record = await this.#member.runAs(({ transfers }, server) =>
        transfers.expire(user, name, before, by && sessionLink(server, user, by)),
      )
      if (!record) return undefined
      await this.#claims.drop(user, name)
      if (by) this.#tell('all', record.token, 'cancelled')
      return record
    })
  }

  forget(want: NewTransfer, digest: string): Promise<void> {
    return this.#change(want, async () => {
      await untilChanged(async () => {
        const waiting = await this.#member.run(({ transfers }) => transfers.forget(want, digest))
        if (!waiting) return true
        await settleWaiting(this.#member, this.#names, [waiting])
      })
    })
  }

  async *records(user?: string): AsyncIterable<TransferRecord> {
    this.#member.checkOpen()
    yield* this.#claims.records(user === undefined ? user : checkUserName(user))
  }

  async record(user: string, name: string): Promise<TransferRecord | undefined> {
    this.#member.checkOpen()
    return this.#member.run(({ transfers }) => transfers.record(user, name))
  }

  async unfinished(user: string, except: readonly string[] = []): Promise<UnfinishedTotals> {
    this.#member.checkOpen()
    return this.#member.run(({ transfers }) => transfers.totals(user, except, this.#member.server))
  }

  completed(want: NewTransfer, digest?: string): Promise<StoredFile | undefined> {
    return this.#change(want, () => this.#completions.completed(want, digest))
  }

  async release(claim: Claim): Promise<void> {
    const { server } = this.#member
    await this.#claims.drop(claim.user, claim.name)
    while (this.#member.server === server && !this.#member.closing.aborted) {
      try {
        return await this.#release(claim)
      } catch (error) {
        ignoreFailedStep(error)
        await this.#member.wait(retryMs).catch(ignoreFailedStep)
      }
    }
  }

  async abandoned(): Promise<readonly TransferRecord[]> {
    this.#member.checkOpen()
    const { records, changes } = await this.#member.run(({ transfers }) => transfers.abandoned())
    await this.#tree.finish(changes)
    return records
  }

  watch(ended: (claim: Claim, reason: ClaimEnd) => void): Disposable {
    this.#watchers.add(ended)
    return { [Symbol.dispose]: () => void this.#watchers.delete(ended) }
  }

  async damages(): Promise<readonly Damage[]> {
    return []
  }

  async #claim(
    want: NewTransfer,
    owner: Owner,
    options: ClaimOptions,
    read: ReadContent | undefined,
  ): Promise<Claimed> {
    const { user, name } = want
    let isNew = false
    let unpublished: string | undefined
    const decide = async (found: FoundUpload) => {
      isNew = options.fresh || !sameUpload(found.record, want)
      unpublished = found.unpublished
      return this.#decide(want, owner, options, found, read)
    }
    const result = await this.#tree.runAs(({ transfers }, server) =>
      transfers.claim(sessionLink(server, user, owner), want, decide, options.recovery),
    )
    if ('completed' in result) {
      await this.#claims.drop(user, name)
      await this.#names.dropPartial(user, name)
      return result
    }
    const { claim, record, former, released } = result
    this.#member.seen.add({ token: claim.token })
    await this.#claims.grant(record, released)
    if (former) this.#tell(former.server, former.token, 'superseded')
    // A frozen server could otherwise publish an earlier file of this name later.
    if (unpublished !== undefined) await this.#names.discard?.(unpublished)
    // Removed after the record is stored: a crash in between can leave bytes without a checkpoint, but never the reverse.
    if (isNew && record.checkpoints.length === 0) await this.#names.dropPartial(user, name)
    return { claim, record }
  }

  /** Applies the rules of `TransferStore.claim` in their order. */
  async #decide(
    want: NewTransfer,
    owner: Owner,
    options: ClaimOptions,
    found: FoundUpload,
    read: ReadContent | undefined,
  ): Promise<ClaimDecision> {
    const { user, name } = want
    const { record: former, changes } = found
    if (changes.length > 0) throw new PendingChanges(changes)
    const same = sameUpload(former, want) ? former : undefined
    checkNotSuperseded(former, want, owner.session, options.fresh)
    const isElsewhere = found.isHeld && this.#isElsewhere(former, owner)
    if (isElsewhere && (options.fresh || !same)) {
      throw new OspError('file-busy', `another program of ${user} is sending ${name} to another server`)
    }
    checkNotVerified(former, want, options.fresh)
    const completed = options.fresh || !same ? await this.#completions.find(found, want, read) : undefined
    checkRecovery(want, options, former, completed)
    if (completed) return { completed }
    await this.#checkName(found, want, !same && options.onConflict === 'reject')
    if (!former) checkUploadCount(user, found.others.uploads, found.others.allUploads)
    const continued = continuedBy(want, options, same)
    const base = continued ?? (await this.#newRecord(want, options.fresh || former !== undefined))
    const superseded = supersededBy(owner, former, options.takeOver || isElsewhere)
    const reserved = await reservedFor(want, options, found, continued)
    return { record: { ...base, owner, superseded, updatedAt: options.at }, reserved }
  }

  /** Returns whether a link of another session at another server owns the record. */
  #isElsewhere(record: TransferRecord | undefined, owner: Owner): boolean {
    if (!record || record.owner.session === owner.session) return false
    return this.#claims.record(record.user, record.name)?.token !== record.token
  }

  /** Throws an OspError if the name cannot be claimed. With `isNew`, no file may be stored under the name of the new file. */
  async #checkName({ otherNames }: FoundUpload, want: NewTransfer, isNew: boolean): Promise<void> {
    const { user, name } = want
    const storeAs = storeAsOf(want)
    if (isNew && (await this.#names.stored(user, storeAs))) {
      throw new OspError('file-exists', `${storeAs} is already on the server; send it under another name`)
    }
    const stored = await this.#names.conflict(user, storeAs)
    const conflict = stored ?? conflictingName(otherNames, name, this.#names.foldsCase)
    if (conflict !== undefined) throw nameConflict(name, conflict)
  }

  /** Returns a new record of the upload. Unless `isEmpty`, it continues a partial file that has no record. */
  async #newRecord(want: NewTransfer, isEmpty: boolean) {
    const upload = uploadOf(want)
    const offset = isEmpty ? 0 : await this.#names.partialBytes(upload)
    return { ...upload, checkpoints: offset > 0 ? [{ offset, digest: new Uint8Array() }] : [] }
  }

  /** Stores the checkpoints of several uploads. */
  async #checkpoint(group: readonly Uncommitted<CheckpointItem>[]): Promise<void> {
    for (let from = 0; from < group.length; from += mostCheckpoints) {
      const part = group.slice(from, from + mostCheckpoints)
      const batch = part.map(({ item }) => item)
      const holds = await this.#member.run(({ transfers }) => transfers.checkpoint(batch))
      for (const [at, entry] of part.entries()) {
        const { claim, checkpoints, at: updatedAt } = entry.item
        if (holds[at]) this.#claims.update(claim, { checkpoints, updatedAt })
        else entry.reject(endedClaimError(claim))
      }
    }
  }

  #release({ user, name, token }: Claim): Promise<void> {
    return this.#member.run(({ transfers }) => transfers.release([{ user, name, token }]))
  }

  #heard(notice: Notice): void {
    if (notice.kind === 'claim') this.#ended(notice.token, notice.why)
  }

  /** Finds the claims that other servers have ended. */
  async #findEnded(): Promise<void> {
    const { tokens } = this.#claims
    if (tokens.length === 0) return
    for (const { token, why } of await this.#member.run(({ transfers }) => transfers.ended(tokens))) {
      this.#ended(token, why)
    }
  }

  #ended(token: number, why: ClaimEnd): void {
    const claim = this.#claims.end(token)
    if (claim) for (const watcher of this.#watchers) watcher(claim, why)
  }

  async #isCancelled(token: number): Promise<boolean> {
    const ended = await this.#member.run(({ transfers }) => transfers.ended([token]))
    return ended.some(({ why }) => why === 'cancelled')
  }

  /** Notifies the server that held a claim. */
  #tell(server: number | 'all', token: number, why: ClaimEnd): void {
    if (server !== this.#member.server) void this.#member.tell(server, { kind: 'claim', token, why })
  }

  get #wallTime(): number {
    return this.#member.platform.clock.wallTime()
  }

  #change<T>(subject: Subject, work: () => Promise<T>): Promise<T> {
    return this.#changeAll([subject], work)
  }

  #changeAll<T>(subjects: readonly Subject[], work: () => Promise<T>): Promise<T> {
    const keys = subjects.map(({ user, name }) => recordKey(user, name))
    return this.#changes.runAll(keys, async () => {
      this.#member.checkOpen()
      return work()
    })
  }
}
