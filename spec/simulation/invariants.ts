import type { Upload as ClientUpload } from '../../lib/client/uploads/upload.ts'
import type { Limits } from '../../lib/limits.ts'
import type { Digests } from '../../lib/ports/platform.ts'
import type { SentFile } from '../../lib/ports/storage.ts'
import { hex } from '../../lib/runtime/hex.ts'
import type { RunningServer } from '../../lib/server/server.ts'
import type { ReceivingUpload, ServerStatus } from '../../lib/server/status.ts'
import { recordKey, subjectOf } from '../../lib/storage/transfers/recordStore.ts'
import type { Appended, SimulatedDisk } from './disk.ts'
import { type SimulatedFile, sameBytes, type Version } from './files.ts'
import type { SimulatedNetwork } from './network.ts'
import { fullBytes } from './socket.ts'
import type { Trace } from './trace.ts'

/** The file of some bytes, and the version since which they are its content. */
interface Upload {
  readonly user: string
  readonly name: string
  readonly modifiedAt?: number
}

type Written = Omit<Appended, 'key'>

/** The parts of a world that the invariants of files and uploads use. */
interface FileParts {
  readonly trace: Trace
  readonly disk: SimulatedDisk
  readonly network: Pick<SimulatedNetwork, 'links'>
  readonly machine: { readonly digests: Digests }
  readonly limits: Limits
  /** Storage of the user's own, instead of the disk. */
  readonly place: { finished(file: SimulatedFile, sent: SentFile): void } | undefined
  readonly files: readonly SimulatedFile[]
  readonly clients: Iterable<{
    readonly name: string
    readonly wanted: Iterable<SimulatedFile>
    readonly open: readonly Pick<ClientUpload, 'name' | 'phase'>[]
  }>
  readonly server: { readonly countsFiles: boolean; readonly server: Pick<RunningServer, 'status'> | undefined }
  readonly healed: boolean
  /** Whether two servers can store a file without an upload at the same time. */
  readonly severalServers?: boolean
}

/** The invariants of files. Each is checked after every step, or at the moment that it is about. */
export class Invariants {
  readonly #parts: FileParts
  #publications = 0
  readonly #stored = new Map<string, { readonly bytes: number; readonly files: number }>()
  readonly #publishedVersions = new Set<Version>()
  /** The first and the latest bytes under each name, by path. */
  readonly #firstPublished = new Map<string, Uint8Array>()
  readonly #lastPublished = new Map<string, Uint8Array>()
  /** The paths from which a file was removed, or to which one was renamed. */
  readonly #removed = new Set<string>()
  /** The paths of files of which a delayed request has stored a version again. */
  readonly #repeated = new Set<string>()
  /** Whether the storage has lost changes, so that files can be published again. */
  hasLost = false

  constructor(parts: FileParts) {
    this.#parts = parts
  }

  /** Called after every step. */
  check(status: ServerStatus | undefined): void {
    for (const fault of this.#parts.disk.violations) this.#parts.trace.fail(fault)
    this.#written()
    this.#published()
    this.#instances(status?.uploads ?? [])
    this.#queues()
  }

  /** After a crash: the data that the server had reported as durable still exists. */
  survived(uploads: readonly ReceivingUpload[]): void {
    const { disk } = this.#parts
    for (const { user, name, durable, progress } of uploads) {
      if (durable === 0) continue
      const record = disk.records.get(recordKey(user, name))
      const kept = record?.checkpoints.at(-1)?.offset ?? 0
      const flushed = disk.partial.get(recordKey(user, name))?.flushed ?? new Uint8Array()
      const whole = kept >= durable && flushed.length >= durable
      const bytes = disk.faults.rotten.has(recordKey(user, name)) ? new Uint8Array() : flushed.subarray(0, durable)
      if (record && whole && this.wasSentOf(record, { offset: 0, bytes })) continue
      if (record?.verified || (!record && this.#isStored(user, name))) continue
      this.#parts.trace.fail(
        `${user}/${name}: ${durable} of ${progress} bytes were durable, ${Math.min(kept, flushed.length)} are left`,
      )
    }
  }

  /** Returns whether the file of an upload is stored. */
  #isStored(user: string, name: string): boolean {
    const { storedName = name } = this.#fileNamed(user, name) ?? {}
    return this.#parts.disk.read(user, storedName) !== undefined
  }

  /** Checks what a client reports: the file is stored, and replaced another one or not. `isSent`: this program sent bytes of it. */
  finished(file: SimulatedFile, sent: SentFile, isSent: boolean): void {
    const { place, disk } = this.#parts
    const isSmall = sent.size <= this.#parts.limits.smallFileBytes
    // A client can find a small file that was renamed to the name of its own. It then sends nothing, and gets no other name.
    const isFound = !isSent && isSmall && sent.storedName === file.name && this.#removed.has(file.path)
    if (sent.storedName !== file.storedName && !isFound)
      this.#parts.trace.fail(`${file.path} is stored as ${sent.storedName}`)
    if (file.hook.refuses(sent.size)) this.#parts.trace.fail(`${file.path} is acknowledged, and was to be refused`)
    // A program that finds the small file of an earlier one stored has no reply that says whether it replaced another one.
    if (isSent || !isSmall) this.#toldReplaced(file, sent)
    if (place) place.finished(file, sent)
    else if (!disk.read(file.user, sent.storedName) && !this.#removed.has(`${file.user}/${sent.storedName}`))
      this.#parts.trace.fail(`${file.path} is acknowledged, but not stored`)
  }

  /** Checks, some time after all faults have stopped, that everything has finished and nothing is left over. */
  settled(): void {
    const { disk, clients } = this.#parts
    for (const { name, wanted, open } of clients) {
      for (const file of wanted)
        this.#parts.trace.fail(`${name} has not sent ${file.path}: ${open.find((u) => u.name === file.name)?.phase}`)
    }
    for (const key of disk.partial.keys()) {
      if (!disk.records.has(key) && !disk.orphans.has(key) && !disk.rot.hasHitUpload(key))
        this.#parts.trace.fail(`a partial file without a record is left: ${JSON.stringify(key)}`)
    }
    const uploads = this.#parts.server.server?.status().uploads ?? []
    for (const { user, name } of uploads) this.#parts.trace.fail(`an instance still receives ${user}/${name}`)
  }

  /** Checks that bytes written to a partial file are bytes of its source at that offset, since the upload began. */
  #written(): void {
    const { appended, records } = this.#parts.disk
    for (const written of appended.splice(0)) {
      const record = records.get(written.key)
      this.wrote(record ?? subjectOf(written.key), written)
    }
  }

  /** Bytes were written to the partial file of an upload; without a version, if the upload has no record. */
  wrote(upload: Upload, written: Written): void {
    if (this.wasSentOf(upload, written)) return
    this.#parts.trace.fail(
      `bytes that are not its own were written to ${upload.user}/${upload.name} at ${written.offset}`,
    )
  }

  /** Checks that published bytes are those of a version of the source, and that each version is published once. */
  #published(): void {
    const { disk } = this.#parts
    if (disk.publications === this.#publications) return
    for (const [user, names] of disk.published) {
      this.quota(
        user,
        Array.from(names.values(), ({ bytes }) => bytes.length),
      )
      for (const [name, { bytes, serial }] of names) {
        if (serial <= this.#publications) continue
        const plain = disk.layers.plainBytes?.(bytes, { user, name, offset: 0 }) ?? bytes
        this.publishedAs(user, name, plain)
      }
    }
    this.#publications = disk.publications
  }

  /** A file was removed, or another one was given its name, so that each of its versions can be stored again. */
  removed(user: string, name: string): void {
    this.#removed.add(`${user}/${name}`)
    this.#repeated.add(`${user}/${name}`)
    for (const version of this.#fileStoredAs(user, name)?.versions ?? []) this.#publishedVersions.delete(version)
  }

  /** A file is stored with these bytes; `isAnew`: it has just been stored. */
  publishedAs(user: string, name: string, bytes: Uint8Array, isAnew = true): void {
    const file = this.#fileStoredAs(user, name)
    const versions = file?.versions.filter((version) => sameBytes(version.bytes, bytes)) ?? []
    const version = versions.find((version) => !this.#publishedVersions.has(version))
    const path = `${user}/${name}`
    if (!this.#firstPublished.has(path)) this.#firstPublished.set(path, bytes)
    if (file?.hook.refuses(bytes.length)) this.#parts.trace.fail(`${path} was published, and was to be refused`)
    if (versions.length === 0)
      this.#parts.trace.fail(`${user}/${name} was published with bytes that its source never had`)
    else if (isAnew && !version && !this.#mayRepeat(user, name, bytes, versions.length))
      this.#parts.trace.fail(`${user}/${name} was published twice`)
    else if (isAnew && version) this.#publishedVersions.add(version)
    this.#lastPublished.set(path, bytes)
  }

  /**
   * Whether a version may be published twice: its marker was damaged, its request was delayed while another one was stored,
   * requests at several servers have stored it, a delayed request at another server has replaced it, or a client may have sent
   * the digest of another version.
   */
  #mayRepeat(user: string, name: string, bytes: Uint8Array, versions: number): boolean {
    const { disk, limits, severalServers = false } = this.#parts
    const file = this.#fileStoredAs(user, name)
    if (disk.rot.hasHitUpload(recordKey(user, file?.name ?? name))) return true
    const last = this.#lastPublished.get(`${user}/${name}`)
    const isOther = versions > 1 || (last !== undefined && !sameBytes(last, bytes))
    const isSmall = bytes.length <= limits.smallFileBytes
    const mayRepeat =
      this.hasLost || file?.isAmbiguous(bytes) || (isOther ? isSmall || severalServers : isSmall && severalServers)
    if (mayRepeat) this.#repeated.add(`${user}/${name}`)
    return mayRepeat
  }

  #toldReplaced(file: SimulatedFile, { replaced, algorithm, digest }: SentFile): void {
    // If two servers receive files of a name at once, each may find the file of the other, or miss it.
    if (this.hasLost || this.#parts.severalServers) return
    const first = this.#firstPublished.get(file.storedPath)
    // A file whose completion marker was damaged is stored again and replaces itself.
    if (this.#parts.disk.rot.hasHitUpload(recordKey(file.user, file.name)) || this.#repeated.has(file.storedPath))
      return
    // Versions with the same bytes cannot be distinguished.
    if (!first || file.versions.filter(({ bytes }) => sameBytes(bytes, first)).length !== 1) return
    const own = this.#parts.machine.digests.create(algorithm)
    own.update(first)
    const isFirst = hex(own.digest()) === digest
    if (replaced === isFirst)
      this.#parts.trace.fail(`the reply about ${file.path} says that it replaced ${replaced ? 'another' : 'no'} file`)
  }

  /** Checks the maximum size of files and, if there is a quota, the total of a user. */
  quota(user: string, lengths: readonly number[]): void {
    for (const length of lengths) {
      if (length > this.#parts.limits.fileBytes) this.#parts.trace.fail(`${user} has stored a file of ${length} bytes`)
    }
    const { userBytes, userFiles, entryBytes } = this.#parts.limits
    const files = lengths.length
    const { countsFiles } = this.#parts.server
    const bytes = lengths.reduce((sum, length) => sum + length + (countsFiles ? entryBytes : 0), 0)
    const before = this.#stored.get(user) ?? { bytes: 0, files: 0 }
    this.#stored.set(user, { bytes, files })
    // Servers do not know of files whose records are lost until they count again.
    if (this.#parts.healed || this.hasLost) return
    if (bytes > before.bytes && bytes > userBytes)
      this.#parts.trace.fail(`${user} has stored ${bytes} bytes, more than the quota`)
    if (countsFiles && files > before.files && files > userFiles)
      this.#parts.trace.fail(`${user} has stored ${files} files, more than the quota`)
  }

  /** Checks that each upload has one instance, and that there are not too many instances. */
  #instances(uploads: readonly ReceivingUpload[]): void {
    if (uploads.length > this.#parts.limits.fileInstances)
      this.#parts.trace.fail(`${uploads.length} instances are busy`)
    const names = new Set(uploads.map(({ user, name }) => `${user}/${name}`))
    if (names.size !== uploads.length) this.#parts.trace.fail('an upload has two instances')
    const links = new Map<number, number>()
    for (const { node, progress, durable, size } of uploads) {
      links.set(node, (links.get(node) ?? 0) + 1)
      if (durable > progress || progress > size)
        this.#parts.trace.fail(`durable ${durable}, progress ${progress}, size ${size}`)
    }
    for (const count of links.values()) {
      if (count > this.#parts.limits.uploadsPerLink) this.#parts.trace.fail(`a link has ${count} uploads`)
    }
  }

  /** Checks that the bytes in flight stay bounded. */
  #queues(): void {
    const most = fullBytes + this.#parts.limits.windowBytes + 64 * 1024
    for (const { client, server } of this.#parts.network.links) {
      if (client.bytesUnderWay > most) this.#parts.trace.fail(`a client has ${client.bytesUnderWay} bytes in flight`)
      if (server.bytesUnderWay > most) this.#parts.trace.fail(`the server has ${server.bytesUnderWay} bytes in flight`)
    }
  }

  /** If a file was written to while it was sent, the stored bytes can be any mixture of that version and later ones. */
  wasSentOf({ user, name, modifiedAt }: Upload, { offset, bytes }: Written): boolean {
    if (modifiedAt === undefined) return false
    const all = this.#fileNamed(user, name)?.versions ?? []
    const first = all.findIndex((version) => version.modifiedAt === modifiedAt)
    const versions = first < 0 ? [] : all.slice(first)
    const plain = this.#parts.disk.layers.plainBytes?.(bytes, { user, name, offset }) ?? bytes
    return plain.every((byte, at) => versions.some((version) => version.bytes[offset + at] === byte))
  }

  #fileNamed(user: string, name: string): SimulatedFile | undefined {
    return this.#parts.files.find((file) => file.user === user && file.name === name)
  }

  #fileStoredAs(user: string, storedName: string): SimulatedFile | undefined {
    return this.#parts.files.find((file) => file.user === user && file.storedName === storedName)
  }
}
