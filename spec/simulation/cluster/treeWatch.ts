import type { ClusterSessionLink, Steps } from '../../../lib/adapters/cluster/steps.ts'
import type { Digests } from '../../../lib/ports/platform.ts'
import type { Claim, SentFile, TransferRecord } from '../../../lib/ports/storage.ts'
import { hex } from '../../../lib/runtime/hex.ts'
import { same } from '../../../lib/runtime/incrementalDigest.ts'
import type { ReceivingUpload } from '../../../lib/server/status.ts'
import type { ChangedFile } from '../../../lib/storage/catalogue/storedTree.ts'
import { sameUpload } from '../../../lib/storage/transfers/claimRules.ts'
import { recordKey } from '../../../lib/storage/transfers/recordStore.ts'
import { type SimulatedFile, sameBytes } from '../files.ts'
import type { Invariants } from '../invariants.ts'
import type { Trace } from '../trace.ts'
import type { SharedTree, TreeFile } from './sharedTree.ts'

/** What a file is published for: a claim, or the announcement of a file without an upload. */
export type PublishReason = { readonly name: string; readonly token: number } | { readonly version: string }

/** What the shared store has for a name: the token of a record, or the version of an announced file. */
interface Present {
  readonly token?: number
  readonly version?: string
}

/** The parts of a world that its shared tree is checked against. */
interface TreeParts {
  readonly trace: Trace
  readonly tree: SharedTree
  readonly files: readonly SimulatedFile[]
  readonly invariants: Invariants
  readonly digests: Digests
}

/** Checks the files that the servers of a world share, and the claims of their uploads. */
export class TreeWatch {
  /** Number of published files. */
  publications = 0
  readonly #parts: TreeParts
  /** By `recordKey`, at the moment when a step of the store takes effect. */
  readonly #present = new Map<string, Present>()
  readonly #records = new Map<string, TransferRecord>()
  readonly #superseded = new Map<string, Set<string>>()
  readonly #published = new Set<TreeFile>()
  /** The order of claims, by token, and of announced files, by version. */
  readonly #order = new Map<number | string, number>()
  /** The claims and announced files whose records are lost. A frozen server can still publish their files. */
  readonly #lost = new Set<number | string>()
  #claims = 0
  /** The token or version for which each file was published. */
  readonly #publishedFor = new WeakMap<TreeFile, number | string>()
  /** The tokens of claims whose uploads were completed. */
  readonly #completed = new Set<number>()
  /** By `recordKey`, the links whose claims have ended. */
  readonly #formerLinks = new Map<string, Set<number>>()
  /** By path, the oldest version that can lie under the name. */
  readonly #acknowledged = new Map<string, number>()
  /** The paths from which a file was removed, or to which one was renamed, since a file was last published there. */
  readonly #removed = new Set<string>()
  /** The link of each session in the store, by user and session; `none` after its end. */
  readonly #links = new Map<string, string>()

  constructor(parts: TreeParts) {
    this.#parts = parts
  }

  /**
   * The store is about to lose its changes. Returns a function that is called when they are lost. Records that are there again,
   * and claims whose records are lost, can then replace a file that was acknowledged meanwhile.
   */
  losing(): () => void {
    const present = new Map(this.#present)
    const records = new Map(this.#records)
    const acknowledged = new Map(this.#acknowledged)
    const links = new Map(this.#links)
    const known = new Set(this.#order.keys())
    const superseded = new Map(Array.from(this.#superseded, ([key, sessions]) => [key, new Set(sessions)] as const))
    return () => {
      restore(this.#present, present)
      restore(this.#records, records)
      restore(this.#superseded, superseded)
      restore(this.#links, links)
      this.#formerLinks.clear()
      for (const id of this.#order.keys()) if (!known.has(id)) this.#lost.add(id)
      for (const [path, version] of this.#acknowledged)
        if (acknowledged.get(path) !== version) this.#acknowledged.delete(path)
    }
  }

  /** A server is about to write to a file, or to truncate it, that it has opened at this path. */
  changes(file: TreeFile, path: string): void {
    const { tree, trace } = this.#parts
    const found = tree.pathsOf(file)
    const what = path.replaceAll('\0', ' ')
    if (this.#published.has(file)) trace.fail(`the former owner of ${what} writes to a published file`)
    else if (found.length > 0 && !found.includes(path)) trace.fail(`the former owner of ${what} writes to a later one`)
  }

  /** Bytes are about to be written to a file. */
  wrote(file: TreeFile, record: TransferRecord | undefined, offset: number, bytes: Uint8Array): void {
    const isRewrite = same(file.bytes.subarray(offset, offset + bytes.length), bytes)
    // The server writes the bytes of a file without a record again. They need not be those of a source.
    if (record && !isRewrite) this.#parts.invariants.wrote(record, { offset, bytes })
  }

  /** A file was moved into place. */
  published(user: string, storedName: string, file: TreeFile, reason: PublishReason, replaced?: TreeFile): void {
    const { invariants, trace } = this.#parts
    this.publications++
    this.#published.add(file)
    if (file.image.flushed.length !== file.bytes.length) trace.fail(`${user}/${storedName} was published unflushed`)
    const id = 'token' in reason ? reason.token : reason.version
    const former = replaced && this.#publishedFor.get(replaced)
    const isSame = replaced !== undefined && sameBytes(replaced.bytes, file.bytes)
    // Another claim may have ended the one of the earlier publication before that was completed.
    const isRepeated = isSame && typeof former === 'number' && !this.#completed.has(former)
    this.#publishedFor.set(file, id)
    invariants.publishedAs(user, storedName, file.bytes, !isRepeated)
    const lengths = Array.from(this.#parts.tree.published.get(user)?.values() ?? [], ({ bytes }) => bytes.length)
    invariants.quota(user, lengths)
    const path = `${user}/${storedName}`
    this.#removed.delete(path)
    const version = this.#versionOf(user, storedName, file)
    const isOlder = version < (this.#acknowledged.get(path) ?? -1)
    const isOvertaken = !isSame && (this.#order.get(former ?? 0) ?? 0) > (this.#order.get(id) ?? 0)
    if (!this.#isPresent(user, reason) && (isOlder || isOvertaken))
      trace.fail(`${path} was replaced by an older file whose claim had ended`)
    else if (isOlder) this.#acknowledged.set(path, version)
  }

  /** Returns whether the store contains, or has lost, the claim or the record for which a file is published. */
  #isPresent(user: string, reason: PublishReason): boolean {
    if (this.#lost.has('token' in reason ? reason.token : reason.version)) return true
    if ('token' in reason) return this.#present.get(recordKey(user, reason.name))?.token === reason.token
    return [...this.#present.values()].some(({ version }) => version === reason.version)
  }

  /** A server removes a file of which it has seen this version. */
  removing({ user, name, version }: ChangedFile, present: TreeFile): void {
    if (present.version !== version) this.#parts.trace.fail(`a newer version of ${user}/${name} is removed`)
  }

  /** A file was removed, or another one was given its name. */
  removed(user: string, name: string): void {
    this.#acknowledged.delete(`${user}/${name}`)
    this.#removed.add(`${user}/${name}`)
  }

  /**
   * A client was informed that its file is stored. If the file was removed, or a renamed one has replaced it, before the client
   * received the reply, only `StoredFiles` knows that it was stored.
   */
  finished(file: SimulatedFile, { storedName, algorithm, digest }: SentFile): void {
    const digestOf = (bytes: Uint8Array) => {
      const own = this.#parts.digests.create(algorithm)
      own.update(bytes)
      return hex(own.digest())
    }
    const first = file.versions.findIndex(({ bytes }) => digestOf(bytes) === digest)
    if (first < 0) this.#parts.trace.fail(`${file.path} is acknowledged with a digest that its source never had`)
    const path = `${file.user}/${storedName}`
    if (this.#removed.has(path)) return
    const stored = this.#parts.tree.read(file.user, storedName)
    const latest = this.#versionOf(file.user, storedName, stored)
    if (!stored) this.#parts.trace.fail(`${file.path} is acknowledged, but not stored`)
    else if (latest < 0) this.#parts.trace.fail(`${file.path} is acknowledged, and its stored content is damaged`)
    // An upload of an older version that was published later has replaced it.
    this.#acknowledged.set(path, Math.min(latest, Math.max(first, this.#acknowledged.get(path) ?? 0)))
  }

  /** Checks that each acknowledged file lies under its name. */
  check(): void {
    for (const { user, storedName, storedPath } of this.#parts.files) {
      const least = this.#acknowledged.get(storedPath)
      if (least === undefined) continue
      const stored = this.#parts.tree.read(user, storedName)
      if (this.#versionOf(user, storedName, stored) < least)
        this.#parts.trace.fail(`${storedPath} was acknowledged, and is not stored any more`)
    }
  }

  /** Returns whether the claim under which a link sends an upload has ended. */
  hasEnded({ user, name, node }: ReceivingUpload): boolean {
    return this.#formerLinks.get(recordKey(user, name))?.has(node) ?? false
  }

  /** Checks, after the end of all servers and a removal of what is useless, that no partial file is left without a record. */
  settled(): void {
    for (const path of this.#parts.tree.partial.keys()) {
      const [user = '', name = '', token] = path.split('\0')
      const present = this.#records.get(recordKey(user, name))
      if (!present || path !== this.#parts.tree.find(user, name)[0]?.path)
        this.#parts.trace.fail(`a partial file is left: ${user}/${name} of claim ${token}`)
    }
  }

  /** Sees what the steps of a server change in the shared store, at the moment when they do. */
  watched(steps: Steps): Steps {
    const { transfers } = steps
    const watched: Partial<Steps['transfers']> = {
      claim: async (...given) => {
        const result = await transfers.claim(...given)
        const [by, , , isRecovery] = given
        if (!isRecovery) this.#checkLink(by, 'claims an upload')
        if ('record' in result) this.#claimed(result.record)
        else {
          this.#ended(result.completed)
          const [{ link }, { user, name }] = given
          this.#formerLinks.get(recordKey(user, name))?.delete(link)
        }
        return result
      },
      checkpoint: async (batch) => {
        const holds = await transfers.checkpoint(batch)
        for (const [at, { claim, checkpoints }] of batch.entries()) {
          const key = recordKey(claim.user, claim.name)
          const record = this.#records.get(key)
          if (!holds[at]) continue
          this.#checkPresent(claim, 'checkpoints were stored')
          if (record) this.#records.set(key, { ...record, checkpoints })
        }
        return holds
      },
      complete: async (claim, ...given) => {
        const holds = await transfers.complete(claim, ...given)
        if (!holds) return holds
        // A repeated step finds its own marker.
        if (!this.#completed.has(claim.token)) this.#checkPresent(claim, 'an upload was completed')
        this.#completed.add(claim.token)
        // Another claim may have followed a step that is repeated.
        if (this.#present.get(recordKey(claim.user, claim.name))?.token === claim.token) this.#ended(claim)
        return holds
      },
      announce: async (...given) => {
        const announced = await transfers.announce(...given)
        const [, files, , by] = given
        const { changes, waiting, unfinished, isOverQuota } = announced
        if (changes.length > 0 || waiting.length > 0 || unfinished.length > 0 || isOverQuota) return announced
        this.#checkLink(by, 'announces files')
        for (const { file, version } of files) {
          this.#ended(file)
          this.#present.set(recordKey(file.user, file.name), { version })
          this.#order.set(version, ++this.#claims)
        }
        return announced
      },
      remove: async (...given) => {
        const former = await transfers.remove(...given)
        if (former) this.#cancelled(former, given[2])
        return former
      },
      expire: async (...given) => {
        const record = await transfers.expire(...given)
        if (record) this.#cancelled(record, given[3])
        return record
      },
    }
    return {
      ...steps,
      ...this.#watchedSessions(steps),
      transfers: { ...transfers, ...watched },
    }
  }

  #cancelled(upload: Pick<Claim, 'user' | 'name'>, by: ClusterSessionLink | undefined): void {
    this.#checkLink(by, 'removes an upload')
    this.#ended(upload)
  }

  /** Records which link each session has in the store. */
  #watchedSessions(steps: Steps): Pick<Steps, 'openSession' | 'closeSession'> {
    return {
      openSession: async (link, attempt) => {
        const former = await steps.openSession(link, attempt)
        this.#links.set(sessionOf(link), linkOf(link))
        return former
      },
      closeSession: async (link) => {
        await steps.closeSession(link)
        if (this.#links.get(sessionOf(link)) === linkOf(link)) this.#links.set(sessionOf(link), 'none')
      },
    }
  }

  /** Checks that a step of a link has taken effect while the link was that of its session. */
  #checkLink(by: ClusterSessionLink | undefined, what: string): void {
    if (by && (this.#links.get(sessionOf(by)) ?? linkOf(by)) !== linkOf(by))
      this.#parts.trace.fail(`a former link of ${by.user} ${what}`)
  }

  /** Checks that a step under a claim has taken effect while it was the present one. */
  #checkPresent({ user, name, token }: Claim, what: string): void {
    const present = this.#present.get(recordKey(user, name))?.token
    if (present !== token) this.#parts.trace.fail(`${what} under a former claim of ${user}/${name}: ${token}`)
  }

  /** A superseded session never holds the upload again, unless it begins anew. */
  #claimed(record: TransferRecord): void {
    const key = recordKey(record.user, record.name)
    const former = this.#records.get(key)
    const isContinued = sameUpload(former, record) && former?.checkpoints.at(-1) && record.checkpoints.length > 0
    const sessions = (isContinued && this.#superseded.get(key)) || new Set<string>()
    // A repeated step finds its own record.
    if (former?.token !== record.token && sessions.has(record.owner.session))
      this.#parts.trace.fail(`a superseded session holds ${record.user}/${record.name} again`)
    for (const session of record.superseded) sessions.add(session)
    if (former) this.#formerLink(key, former)
    this.#formerLinks.get(key)?.delete(record.owner.node)
    this.#superseded.set(key, sessions)
    this.#records.set(key, record)
    this.#present.set(key, { token: record.token })
    this.#order.set(record.token, ++this.#claims)
  }

  #ended({ user, name }: { readonly user: string; readonly name: string }): void {
    const key = recordKey(user, name)
    const former = this.#records.get(key)
    if (former) this.#formerLink(key, former)
    this.#records.delete(key)
    this.#superseded.delete(key)
    this.#present.delete(key)
  }

  #formerLink(key: string, { owner }: TransferRecord): void {
    this.#formerLinks.set(key, (this.#formerLinks.get(key) ?? new Set()).add(owner.node))
  }

  /** Returns the number of the latest version of a file that has the bytes of a stored one; -1 if there is none. */
  #versionOf(user: string, storedName: string, stored: TreeFile | undefined): number {
    const file = this.#parts.files.find((each) => each.user === user && each.storedName === storedName)
    const versions = file?.versions ?? []
    return stored ? versions.findLastIndex(({ bytes }) => sameBytes(bytes, stored.bytes)) : -1
  }
}

const sessionOf = ({ user, session }: ClusterSessionLink) => `${user} ${session}`

const linkOf = ({ server, link }: ClusterSessionLink) => `${server} ${link}`

function restore<V>(map: Map<string, V>, former: ReadonlyMap<string, V>): void {
  map.clear()
  for (const [key, value] of former) map.set(key, value)
}
