import type { SentFile } from '../../lib/client/uploads/upload.ts'
import type { Limits } from '../../lib/limits.ts'
import { hex } from '../../lib/runtime/hex.ts'
import type { ReceivingUpload, ServerStatus } from '../../lib/server/status.ts'
import { recordKey, subjectOf } from '../../lib/storage/transfers/keys.ts'
import type { Appended } from './disk.ts'
import { type SimulatedFile, sameBytes, type Version } from './files.ts'
import { fullBytes } from './socket.ts'
import type { World } from './world.ts'

/** Whose bytes, and since which version of the file. */
interface Upload {
  readonly user: string
  readonly name: string
  readonly modifiedAt?: number
}

type Written = Omit<Appended, 'key'>

/** What must hold whatever happens. Each is checked after every step, or at the moment that it is about. */
export class Invariants {
  readonly #world: World
  readonly #limits: Limits
  #publications = 0
  readonly #stored = new Map<string, { readonly bytes: number; readonly files: number }>()
  readonly #publishedVersions = new Set<Version>()
  /** The first bytes under each name, by path. */
  readonly #firstPublished = new Map<string, Uint8Array>()

  constructor(world: World, limits: Limits) {
    this.#world = world
    this.#limits = limits
  }

  /** After every step. */
  check(status: ServerStatus | undefined): void {
    for (const fault of this.#world.disk.faults) this.#world.fail(fault)
    this.#written()
    this.#published()
    this.#instances(status?.uploads ?? [])
    this.#queues()
  }

  /** A crash has just happened: what the server had reported as durable is there. */
  survived(uploads: readonly ReceivingUpload[]): void {
    const { disk } = this.#world
    for (const { user, name, durable, progress } of uploads) {
      if (durable === 0) continue
      const record = disk.records.get(recordKey(user, name))
      const kept = record?.checkpoints.at(-1)?.offset ?? 0
      const flushed = disk.partial.get(recordKey(user, name))?.flushed ?? new Uint8Array()
      const whole = kept >= durable && flushed.length >= durable
      const bytes = disk.troubles.rotten.has(recordKey(user, name)) ? new Uint8Array() : flushed.subarray(0, durable)
      if (record && whole && this.wasSentOf(record, { offset: 0, bytes })) continue
      if (record?.verified || (!record && disk.read(user, name))) continue
      this.#world.fail(
        `${user}/${name}: ${durable} of ${progress} bytes were durable, ${Math.min(kept, flushed.length)} are left`,
      )
    }
  }

  /** Checks the answer that a client received: the file is stored, and has replaced another one or not. */
  finished(file: SimulatedFile, sent: SentFile): void {
    const { place, disk } = this.#world
    this.#toldReplaced(file, sent)
    if (place) place.finished(file, sent)
    else if (!disk.read(file.user, sent.storedName)) this.#world.fail(`${file.path} is acknowledged, but not stored`)
  }

  /** Healed, and time has passed: everything has come to its end, and nothing is left over. */
  settled(): void {
    const { disk, clients } = this.#world
    for (const { name, wanted, open } of clients) {
      for (const file of wanted)
        this.#world.fail(`${name} has not sent ${file.path}: ${open.find((u) => u.name === file.name)?.phase}`)
    }
    for (const key of disk.partial.keys()) {
      if (!disk.records.has(key) && !disk.orphans.has(key) && !disk.rot.hasHitUpload(key))
        this.#world.fail(`a partial file without a record is left: ${JSON.stringify(key)}`)
    }
    const uploads = this.#world.server.server?.status().uploads ?? []
    for (const { user, name } of uploads) this.#world.fail(`an instance still receives ${user}/${name}`)
  }

  /** What is written to a partial file is what its source was, at that place, since its upload began. */
  #written(): void {
    const { appended, records } = this.#world.disk
    for (const written of appended.splice(0)) {
      const record = records.get(written.key)
      this.wrote(record ?? subjectOf(written.key), written)
    }
  }

  /** Bytes were written to the partial file of an upload; without its version, if there is no record of it. */
  wrote(upload: Upload, written: Written): void {
    if (this.wasSentOf(upload, written)) return
    this.#world.fail(`bytes that are not its own were written to ${upload.user}/${upload.name} at ${written.offset}`)
  }

  /** What is published is what its source was at some time, and each version is published once. */
  #published(): void {
    const { disk } = this.#world
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

  /** A file lies in its place with these bytes; `isAnew`: it has just been put there. */
  publishedAs(user: string, name: string, bytes: Uint8Array, isAnew = true): void {
    const versions = this.#fileOf(user, name)?.versions.filter((version) => sameBytes(version.bytes, bytes)) ?? []
    const version = versions.find((version) => !this.#publishedVersions.has(version))
    const path = `${user}/${name}`
    if (!this.#firstPublished.has(path)) this.#firstPublished.set(path, bytes)
    if (versions.length === 0) this.#world.fail(`${user}/${name} was published with bytes that its source never had`)
    else if (isAnew && !version && !this.#world.disk.rot.hasHitUpload(recordKey(user, name)))
      this.#world.fail(`${user}/${name} was published twice`)
    else if (isAnew && version) this.#publishedVersions.add(version)
  }

  #toldReplaced(file: SimulatedFile, { replaced, algorithm, digest }: SentFile): void {
    const first = this.#firstPublished.get(file.path)
    // A file whose note was damaged is stored again and replaces itself.
    if (this.#world.disk.rot.hasHitUpload(recordKey(file.user, file.name))) return
    // Versions with the same bytes cannot be distinguished.
    if (!first || file.versions.filter(({ bytes }) => sameBytes(bytes, first)).length !== 1) return
    const own = this.#world.machine.digests.create(algorithm)
    own.update(first)
    const isFirst = hex(own.digest()) === digest
    if (replaced === isFirst)
      this.#world.fail(`the sender of ${file.path} was told ${replaced ? '' : 'not '}to have replaced another file`)
  }

  /** No file is larger than any may be, and what a user keeps does not grow beyond the quota while there is one. */
  quota(user: string, lengths: readonly number[]): void {
    for (const length of lengths) {
      if (length > this.#limits.fileBytes) this.#world.fail(`${user} has stored a file of ${length} bytes`)
    }
    const { userBytes, userFiles, entryBytes } = this.#limits
    const files = lengths.length
    const { countsFiles } = this.#world
    const bytes = lengths.reduce((sum, length) => sum + length + (countsFiles ? entryBytes : 0), 0)
    const before = this.#stored.get(user) ?? { bytes: 0, files: 0 }
    this.#stored.set(user, { bytes, files })
    if (this.#world.healed) return
    if (bytes > before.bytes && bytes > userBytes)
      this.#world.fail(`${user} has stored ${bytes} bytes, more than the quota`)
    if (countsFiles && files > before.files && files > userFiles)
      this.#world.fail(`${user} has stored ${files} files, more than the quota`)
  }

  /** Each upload has one instance, and there are no more of them than is allowed. */
  #instances(uploads: readonly ReceivingUpload[]): void {
    if (uploads.length > this.#limits.fileInstances) this.#world.fail(`${uploads.length} instances are busy`)
    const names = new Set(uploads.map(({ user, name }) => `${user}/${name}`))
    if (names.size !== uploads.length) this.#world.fail('an upload has two instances')
    const links = new Map<number, number>()
    for (const { node, progress, durable, size } of uploads) {
      links.set(node, (links.get(node) ?? 0) + 1)
      if (durable > progress || progress > size)
        this.#world.fail(`durable ${durable}, progress ${progress}, size ${size}`)
    }
    for (const count of links.values()) {
      if (count > this.#limits.uploadsPerLink) this.#world.fail(`a link has ${count} uploads`)
    }
  }

  /** What is on its way stays bounded. */
  #queues(): void {
    const most = fullBytes + this.#limits.windowBytes + 64 * 1024
    for (const { client, server } of this.#world.network.links) {
      if (client.bytesUnderWay > most) this.#world.fail(`a client has ${client.bytesUnderWay} bytes under way`)
      if (server.bytesUnderWay > most) this.#world.fail(`the server has ${server.bytesUnderWay} bytes under way`)
    }
  }

  /** Of a file that was written to while it was sent, any mixture of that version and later ones may be there. */
  wasSentOf({ user, name, modifiedAt }: Upload, { offset, bytes }: Written): boolean {
    if (modifiedAt === undefined) return false
    const versions = this.#fileOf(user, name)?.versions.filter((version) => version.modifiedAt >= modifiedAt) ?? []
    const plain = this.#world.disk.layers.plainBytes?.(bytes, { user, name, offset }) ?? bytes
    return plain.every((byte, at) => versions.some((version) => version.bytes[offset + at] === byte))
  }

  #fileOf(user: string, name: string): SimulatedFile | undefined {
    return this.#world.files.find((file) => file.user === user && file.name === name)
  }
}
