import type { FileInfo } from '../../lib/client/files/fileRequests.ts'
import type { Files } from '../../lib/client/files/files.ts'
import type { DigestName, Digests } from '../../lib/ports/platform.ts'
import type { SentFile } from '../../lib/ports/storage.ts'
import { hex } from '../../lib/runtime/hex.ts'
import { compareNames } from '../../lib/storage/catalogue/storedTree.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { decode, type WireMessage } from '../../lib/wire/message.ts'
import { events } from '../../lib/wire/protocol.ts'
import type { ClientActor } from './clientActor.ts'
import type { ClientRun } from './clientRun.ts'
import { FileNotices, type NoticeParts } from './fileNotices.ts'
import { type SimulatedFile, sameBytes } from './files.ts'
import type { OwnLayers } from './layers.ts'
import type { Link } from './network.ts'
import { joined } from './partialImage.ts'
import { SimulatedTarget } from './simulatedTarget.ts'
import type { Trace } from './trace.ts'

/** A file under a name, from the change with the number `from` to that with the number `until`. */
interface StoredContent {
  readonly name: string
  readonly bytes: Uint8Array
  readonly version: string
  readonly from: number
  until: number
}

/** The parts of a world that its stored files are checked against. */
interface StoredParts extends NoticeParts {
  readonly trace: Trace
  readonly machine: { readonly digests: Digests }
  readonly files: readonly SimulatedFile[]
  readonly disk: NoticeParts['disk'] & { readonly layers: OwnLayers }
  readonly clients: readonly ClientActor[]
  /** A file was removed from a name, or was replaced by one that was renamed. */
  readonly removed: (user: string, name: string) => void
}

/** Errors of requests about stored files that are no faults. */
const fair = ['no-such-file', 'version-changed', 'file-exists']

/**
 * The stored files of a world at each moment, as the disk has them, and the requests of programs about them. A number that rises
 * with each change of the disk is the time: an answer must be true of some moment between the request and its answer.
 */
export class StoredFiles {
  /** The messages about the files. */
  readonly notices: FileNotices
  readonly #parts: StoredParts
  readonly #contents = new Map<string, StoredContent[]>()
  /** By path: the latest change that has removed a file from it, also by a rename. */
  readonly #removals = new Map<string, number>()
  /** By path: the latest change after which no program wants to send the file any more. */
  readonly #over = new Map<string, number>()
  /** The downloads that each program continues after it was killed. */
  readonly #downloads = new Map<ClientActor, Map<string, SimulatedTarget>>()
  /** The number of requests of each run of a program that are not answered. */
  readonly #open = new Map<ClientRun, number>()
  /** The path under which each version was first stored. A renamed file keeps its version. */
  readonly #sources = new Map<string, string>()
  /** Whether all files were stored long enough for their metadata to be there. */
  #isOver = false
  #changes = 0

  constructor(parts: StoredParts) {
    this.notices = new FileNotices(parts)
    this.#parts = parts
  }

  /** A file was published, or was given another name. `begunAt`: as in `Published`. */
  put(user: string, name: string, bytes: Uint8Array, version: string, isRenamed = false, begunAt?: number): void {
    const path = `${user}/${name}`
    this.#changes++
    if (isRenamed) this.#parts.removed(user, name)
    else {
      this.#checkWanted(path)
      this.#sources.set(version, path)
      this.notices.published(path, version, bytes, begunAt)
    }
    this.#end(path)
    const contents = this.#contents.get(path) ?? []
    contents.push({ name, bytes, version, from: this.#changes, until: Number.POSITIVE_INFINITY })
    this.#contents.set(path, contents)
  }

  /** A file was removed, or has lost its name. */
  gone(user: string, name: string): void {
    this.#changes++
    this.#end(`${user}/${name}`)
    this.#removals.set(`${user}/${name}`, this.#changes)
    this.#parts.removed(user, name)
  }

  /** A program no longer sends a file. */
  over({ storedPath }: SimulatedFile): void {
    this.#over.set(storedPath, this.#changes)
  }

  /** The number of the latest change. */
  get changes(): number {
    return this.#changes
  }

  /** Checks what a client reports: the file had this content at some moment since a change. */
  finished({ user, algorithm }: SimulatedFile, { storedName, size, digest }: SentFile, since: number): void {
    // Without a change, the files of this world are not watched.
    if (this.#changes === 0) return
    const isSent = ({ bytes, until }: StoredContent) =>
      until > since && bytes.length === size && this.#digestOf(bytes, algorithm) === digest
    const path = `${user}/${storedName}`
    if (!(this.#contents.get(path) ?? []).some(isSent))
      this.#parts.trace.fail(`${path} is acknowledged to ${user} with a content that was not stored`)
  }

  /** Checks the content of each answer: it is that of the version that the request names. */
  watch({ server }: Link): void {
    const { heard, sent } = server
    let user = ''
    const reads = new Map<number, WireMessage<'ReadFileReq'>>()
    server.heard = (frame) => {
      if (frame.event === events.HelloReq.number) user = (decode(frame) as WireMessage<'HelloReq'>).userName
      if (frame.event === events.ReadFileReq.number) reads.set(frame.seq, decode(frame) as WireMessage<'ReadFileReq'>)
      return heard(frame)
    }
    server.sent = (frame) => {
      sent(frame)
      const read = reads.get(frame.seq)
      if (read && frame.event === events.ReadFileAck.number) this.#checkRead(user, read, frame)
    }
  }

  /** A program runs again, and continues its downloads. */
  started(actor: ClientActor, run: ClientRun): void {
    for (const [name, target] of this.#downloads.get(actor) ?? []) this.#download(actor, run, name, target)
  }

  /** The errors of a server without a catalogue: a layer need not pass the catalogue of a storage on. */
  get unsupported(): readonly string[] {
    return this.#parts.disk.layers.storage ? ['unsupported-version'] : []
  }

  /** Whether no request of a program that runs is unanswered. */
  get isSettled(): boolean {
    return this.#parts.clients.every(({ run }) => run === undefined || (this.#open.get(run) ?? 0) === 0)
  }

  settled(): void {
    if (!this.isSettled) this.#parts.trace.fail('requests about stored files are not answered')
  }

  /** Lists the files of all users, which have their metadata by now. */
  describeAll(): void {
    this.#isOver = true
    const { files, clients } = this.#parts
    if (files.every(({ metadata }) => metadata === undefined)) return
    const ofUsers = new Map(clients.map((client) => [client.user, client]))
    for (const client of ofUsers.values()) this.list(client, '')
  }

  /** Returns the names under which a user has files. */
  namesOf(user: string): readonly string[] {
    return Array.from(this.#contents).flatMap(([path, contents]) => {
      const last = contents.at(-1)
      return last && last.until > this.#changes && path === `${user}/${last.name}` ? [last.name] : []
    })
  }

  /** Downloads a file to a target that outlives the program. */
  download(actor: ClientActor, name: string): void {
    const targets = this.#downloads.get(actor) ?? new Map<string, SimulatedTarget>()
    this.#downloads.set(actor, targets)
    if (targets.has(name)) return
    const target = new SimulatedTarget()
    targets.set(name, target)
    if (actor.run) this.#download(actor, actor.run, name, target)
  }

  /** Reads a file from an offset, and stops after `most` bytes or more. */
  read(actor: ClientActor, name: string, offset: number, most: number): void {
    this.#ask(
      actor.run,
      `reads ${name} from ${offset}`,
      async (files) => {
        const parts: Uint8Array[] = []
        let bytes = 0
        const download = files.download(name, { offset })
        for await (const part of download) {
          parts.push(part)
          bytes += part.length
          if (bytes >= most) return { parts, file: undefined }
        }
        return { parts, file: await download.done }
      },
      ({ parts, file }, since) => {
        const content = joined(parts)
        const isRead = ({ bytes, version }: StoredContent) =>
          (file === undefined || file.version === version) &&
          sameBytes(bytes.subarray(offset, file ? undefined : offset + content.length), content)
        this.#check(actor, name, since, isRead, `was read from ${offset}: ${content.length} bytes`)
      },
      ['usage'],
    )
  }

  list(actor: ClientActor, prefix: string): void {
    this.#ask(
      actor.run,
      `lists ${prefix}`,
      async (files) => {
        const listed: FileInfo[] = []
        for await (const file of files.list({ prefix })) listed.push(file)
        return listed
      },
      (listed, since) => this.#checkList(actor, prefix, listed, since),
    )
  }

  stat(actor: ClientActor, name: string, digest: boolean): void {
    this.#ask(
      actor.run,
      `describes ${name}`,
      (files) => files.stat(name, { digest }),
      (file, since) => {
        if (digest && file.digest === undefined) this.#parts.trace.fail(`${name} was described without a digest`)
        this.#checkInfo(actor, file, since)
      },
      // The file was replaced while the server read it.
      ['file-busy'],
    )
  }

  remove(actor: ClientActor, name: string, named: boolean): void {
    this.#ask(
      actor.run,
      `removes ${name}`,
      async (files) => files.remove(name, named ? { version: (await files.stat(name)).version } : {}),
      (_, since) => this.#checkGone(actor, name, since, 'removed'),
    )
  }

  rename(actor: ClientActor, name: string, newName: string, replace: boolean): void {
    this.#ask(
      actor.run,
      `renames ${name} to ${newName}`,
      async (files) => {
        const { version } = await files.stat(name)
        await files.rename(name, newName, { version, replace })
        return version
      },
      (version, since) => {
        if (name === newName) return
        this.#checkGone(actor, name, since, 'renamed')
        const isRenamed = (content: StoredContent) => content.version === version
        this.#check(actor, newName, since, isRenamed, `was renamed: version ${version}`)
      },
    )
  }

  #download(actor: ClientActor, run: ClientRun, name: string, target: SimulatedTarget): void {
    const ended = () => this.#downloads.get(actor)?.delete(name)
    this.#ask(
      run,
      `downloads ${name}`,
      async (files) => {
        const { done } = files.download(name, { to: target.openedBy(run.process) })
        return await done.catch((error) => {
          if (error.code !== 'closed') ended()
          throw error
        })
      },
      (file, since) => {
        ended()
        const isTarget = ({ bytes, version }: StoredContent) =>
          version === file.version && target.whole !== undefined && sameBytes(bytes, target.whole)
        this.#check(actor, name, since, isTarget, `was downloaded: version ${file.version}`)
      },
    )
  }

  #ask<T>(
    run: ClientRun | undefined,
    what: string,
    act: (files: Files) => Promise<T>,
    answered: (result: T, since: number) => void,
    others: readonly string[] = [],
  ): void {
    if (!run) return
    const since = this.#changes
    const count = (change: number) => this.#open.set(run, (this.#open.get(run) ?? 0) + change)
    count(1)
    const asked = run.ask(what, act, [...fair, ...others, ...this.unsupported])
    void asked.then((result) => {
      count(-1)
      if (result) answered(result.value, since)
    })
  }

  #checkRead(user: string, { fileName, version, offset, length }: WireMessage<'ReadFileReq'>, frame: Frame): void {
    const content = joined((decode(frame) as WireMessage<'ReadFileAck'>).content)
    const contents = this.#contents.get(`${user}/${fileName}`) ?? []
    const file = contents.find((each) => each.version === version)
    const part = file?.bytes.subarray(offset, offset + content.length)
    if (part && content.length <= length && sameBytes(part, content)) return
    this.#parts.trace.fail(`a read of version ${version} of ${user}/${fileName} at ${offset} returned other bytes`)
  }

  /** Checks that a list is in order, has no file twice, and has each file that was there all the time. */
  #checkList(actor: ClientActor, prefix: string, listed: readonly FileInfo[], since: number): void {
    for (const [at, file] of listed.entries()) {
      const before = listed[at - 1]
      if (before && compareNames(before.name, file.name) >= 0)
        this.#parts.trace.fail(`${actor.name} was sent ${file.name} after ${before.name}`)
      this.#checkInfo(actor, file, since)
    }
    const names = new Set(listed.map(({ name }) => name))
    for (const [path, contents] of this.#contents) {
      const last = contents.at(-1)
      if (!last?.name.startsWith(prefix) || path !== `${actor.user}/${last.name}` || names.has(last.name)) continue
      if (last.from <= since && last.until > this.#changes)
        this.#parts.trace.fail(`a list of ${actor.name} is without ${path}`)
    }
  }

  /**
   * Checks that a version has the metadata of its source. The metadata is added just after the file is stored, and is lost if its
   * record is damaged or lost.
   */
  #checkMetadata({ name, version, metadata }: FileInfo): void {
    const path = this.#sources.get(version)
    if (this.#hasContentOf(version, metadata.source)) return
    const file = this.#parts.files.find(({ storedPath }) => storedPath === path)
    const expected = file?.metadata
    const { by, sentAs, ...own } = metadata
    const isLost = this.notices.unsure.has(version) || (this.#parts.disk.rot?.anyUpload ?? false)
    const isUnsaid = sentAs === undefined && (!this.#isOver || isLost)
    if (file?.hook.isOn && !isUnsaid && sentAs !== file.name)
      this.#parts.trace.fail(`${name}, version ${version} from ${path}, lacks the metadata of onUpload: ${sentAs}`)
    if (by === undefined ? !expected || !this.#isOver || isLost : expected?.source === own.source) return
    this.#parts.trace.fail(`${name}, version ${version} from ${path}, has the metadata ${JSON.stringify(metadata)}`)
  }

  /** Returns whether a version has the content of another file, whose upload then gives it other metadata. */
  #hasContentOf(version: string, path: string | undefined): boolean {
    const content = [...this.#contents.values()].flat().find((each) => each.version === version)
    const file = this.#parts.files.find((each) => each.path === path)
    return content !== undefined && (file?.versions.some(({ bytes }) => sameBytes(bytes, content.bytes)) ?? false)
  }

  #checkInfo(actor: ClientActor, file: FileInfo, since: number): void {
    const { name, size, version, algorithm, digest } = file
    this.#checkMetadata(file)
    const isDescribed = ({ bytes, ...content }: StoredContent) => {
      if (content.version !== version || bytes.length !== size) return false
      if (!algorithm || digest === undefined) return true
      return this.#digestOf(bytes, algorithm) === digest
    }
    this.#check(actor, name, since, isDescribed, `was described: version ${version}, ${size} bytes`)
  }

  #digestOf(bytes: Uint8Array, algorithm: DigestName): string {
    const digest = this.#parts.machine.digests.create(algorithm)
    digest.update(bytes)
    return hex(digest.digest())
  }

  /** Checks that a file under a name fits at some moment since a request. */
  #check(
    { user }: ClientActor,
    name: string,
    since: number,
    fits: (content: StoredContent) => boolean,
    what: string,
  ): void {
    const contents = this.#contents.get(`${user}/${name}`) ?? []
    if (contents.some((content) => content.until > since && fits(content))) return
    this.#parts.trace.fail(`${user}/${name} ${what}, which it was not`)
  }

  #checkGone({ user }: ClientActor, name: string, since: number, what: string): void {
    const path = `${user}/${name}`
    const contents = this.#contents.get(path) ?? []
    const wasThere = contents.some(({ from, until }) => from <= since && until > since)
    const isThere = (contents.at(-1)?.until ?? 0) > this.#changes
    if (wasThere && isThere && (this.#removals.get(path) ?? -1) <= since)
      this.#parts.trace.fail(`${path} was ${what}, and is still there`)
  }

  /** Checks that a file which was removed is stored again only for a program that has sent it since then. */
  #checkWanted(path: string): void {
    const removal = this.#removals.get(path)
    if (removal === undefined) return
    const isSending = this.#parts.clients.some(({ wanted }) => [...wanted].some((file) => file.storedPath === path))
    if (!isSending && (this.#over.get(path) ?? -1) < removal)
      this.#parts.trace.fail(`${path} was removed, and is stored again`)
  }

  #end(path: string): void {
    const last = this.#contents.get(path)?.at(-1)
    if (last && last.until > this.#changes) last.until = this.#changes
  }
}
