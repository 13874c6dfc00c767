import { OspError } from '../../errors.ts'
import type { Announcement } from '../../ports/storage.ts'
import { EarlierFiles } from '../../runtime/earlierFiles.ts'
import { hex } from '../../runtime/hex.ts'
import type { ChangedFile, StoredTree } from '../../storage/catalogue/storedTree.ts'
import type { ClusterMember } from './clusterMember.ts'
import type { Fences } from './fences.ts'
import type { FileChange } from './fileSteps.ts'
import { ignoreFailedStep, untilChanged } from './stepRetries.ts'
import { type Steps, sessionLink } from './steps.ts'

/** The published files of a directory that several servers share, and the fences through which they are changed. */
export interface FencedFiles {
  readonly tree: Pick<StoredTree, 'list' | 'find' | 'open' | 'key'>
  readonly fences: Fences
}

/** How a change is made. */
interface Attempt {
  /** Makes the change through a fence. Resolves with false if the file has another version, or if the fence was removed. */
  make(fence: string): Promise<boolean>
  /** Resolves with whether no further attempt is needed. */
  isOver(): Promise<boolean>
}

/*
 * A server that was frozen must not remove or rename a newer file than the one that it has seen. Therefore each change is
 * recorded in the shared store before it is made, with its fence and the version of the file. A server that publishes a file of
 * that name, or begins another change of it, first removes the fence and finishes the change: the earlier change is made either
 * before that or never.
 *
 * The store can go back to a state without the record of a change. Therefore a server that has started, or that may have missed
 * such a loss, removes all fences without a record before it publishes or changes a file.
 *
 * A rename first adds the new name and then removes the former one, so that the file always has a name.
 */

/** The stored files of all servers, as one of the servers changes them. */
export class ClusterTree implements StoredTree {
  readonly #member: ClusterMember
  readonly #files: FencedFiles
  /** Resolves when these announced files are published, or can never be. */
  readonly #settle: (unpublished: readonly Announcement[]) => Promise<void>
  /** The value of `ClusterMember.history` for which all fences without a record were removed. */
  #cleared: number | undefined

  constructor(
    member: ClusterMember,
    files: FencedFiles,
    settle: (unpublished: readonly Announcement[]) => Promise<void>,
  ) {
    this.#member = member
    this.#files = files
    this.#settle = settle
  }

  list(...query: Parameters<StoredTree['list']>): ReturnType<StoredTree['list']> {
    return this.#files.tree.list(...query)
  }

  find(...file: Parameters<StoredTree['find']>): ReturnType<StoredTree['find']> {
    return this.#files.tree.find(...file)
  }

  open(...file: Parameters<StoredTree['open']>): ReturnType<StoredTree['open']> {
    return this.#files.tree.open(...file)
  }

  key(): Promise<Uint8Array> {
    return this.#files.tree.key()
  }

  unlink(file: ChangedFile): Promise<void> {
    return this.#change(file, undefined, [], {
      make: (fence) => this.#files.fences.unlink(file, fence),
      isOver: async () => {
        const present = await this.find(file.user, file.name)
        if (present && present.version !== file.version) throw new OspError('version-changed')
        return present === undefined
      },
    })
  }

  move(file: ChangedFile, newName: string, replace: boolean): Promise<void> {
    const { fences } = this.#files
    let isLinked = false
    return this.#change(file, newName, [], {
      make: async (fence) => {
        isLinked ||= await fences.link(file, newName, replace, fence)
        return isLinked && (await fences.unlink(file, fence))
      },
      isOver: async () => {
        if (await this.#hasVersion(file.user, file.name, file.version)) return false
        // Another server has removed the former name.
        if (isLinked || (await this.#hasVersion(file.user, newName, file.version))) return true
        throw new OspError('version-changed')
      },
    })
  }

  /**
   * Runs a step that publishes or changes files, as `ClusterMember.runAs`, after the fences without a record were removed.
   */
  async runAs<T>(step: (steps: Steps, server: number) => Promise<T>): Promise<T> {
    for (;;) {
      await this.#dropUnrecorded()
      // The member first compares the store with the state that it has seen.
      const found = await this.#member.runAs(async (steps, server) =>
        this.#cleared === this.#member.history ? { result: await step(steps, server) } : undefined,
      )
      if (found) return found.result
    }
  }

  async #dropUnrecorded(): Promise<void> {
    const { fences } = this.#files
    while (this.#cleared !== this.#member.history) {
      const { history } = this.#member
      const found = await fences.list()
      const recorded = new Set(found.length > 0 ? await this.#member.run(({ files }) => files.recorded(found)) : [])
      if (this.#member.history !== history) continue
      // Another server may be about to record the change of one of these fences. It then tries again.
      for (const fence of found) if (!recorded.has(fence)) await fences.remove(fence)
      this.#cleared = history
    }
  }

  /** Ends changes that other servers have begun, so that those servers can no longer make them. */
  async finish(changes: readonly FileChange[]): Promise<void> {
    for (const change of changes) {
      await this.#files.fences.remove(change.fence)
      if (!(await this.#isHalf(change))) {
        await this.#end(change.fence)
        continue
      }
      await this.#change(change, change.newName, [change.fence], {
        make: (fence) => this.#files.fences.unlink(change, fence),
        isOver: async () => !(await this.#isHalf(change)),
      })
    }
  }

  /** `ended` are the fences of earlier changes that this one finishes. */
  async #change(
    { user, name, version, by }: ChangedFile,
    newName: string | undefined,
    ended: readonly string[],
    attempt: Attempt,
  ): Promise<void> {
    let former = ended
    await untilChanged(async () => {
      const fence = hex(this.#member.platform.random.bytes(16, 'the fence of a change'))
      const change = { fence, user, name, version, newName }
      // Otherwise the step that records the change could remove its fence.
      await this.#dropUnrecorded()
      await this.#files.fences.add(fence)
      try {
        await this.#begin({ ...change, by }, former)
        if ((await attempt.make(fence)) || (await attempt.isOver())) {
          await this.#files.fences.remove(fence)
          await this.#end(fence)
          return true
        }
        await this.#files.fences.remove(fence)
      } catch (error) {
        await this.#abandon(change).catch(ignoreFailedStep)
        throw error
      }
      former = [fence]
    })
  }

  /** Records a change, after ending what other servers have begun with its names. */
  async #begin(change: FileChange & Pick<ChangedFile, 'by'>, former: readonly string[]): Promise<void> {
    const { by, ...recorded } = change
    await untilChanged(async () => {
      const { changes, unpublished, unfinished } = await this.runAs(({ files }, server) =>
        files.begin(server, recorded, former, by && sessionLink(server, by.user, by)),
      )
      if (unfinished.length > 0) throw new EarlierFiles({ unfinished })
      if (changes.length === 0 && unpublished.length === 0) return true
      await this.#settle(unpublished)
      await this.finish(changes)
    })
  }

  /** Abandons a change. If it was made in part, it stays recorded, and the next change of the file finishes it. */
  async #abandon(change: FileChange): Promise<void> {
    await this.#files.fences.remove(change.fence)
    if (!(await this.#isHalf(change))) await this.#end(change.fence)
  }

  async #end(fence: string): Promise<void> {
    await this.#member.run(({ files }) => files.end([fence]))
  }

  /** Returns whether a file has both names of a change. */
  async #isHalf({ user, name, newName, version }: FileChange): Promise<boolean> {
    if (newName === undefined || !(await this.#hasVersion(user, newName, version))) return false
    return this.#hasVersion(user, name, version)
  }

  async #hasVersion(user: string, name: string, version: string): Promise<boolean> {
    return (await this.find(user, name))?.version === version
  }
}
