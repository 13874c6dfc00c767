import { recordKey } from '../../../lib/storage/transfers/recordStore.ts'
import type { SeededRandom } from '../../support/random.ts'
import { PartialImage } from '../partialImage.ts'
import type { SimulatedProcess } from '../process.ts'
import type { StoredFiles } from '../storedFiles.ts'

/** A file of a shared tree. Its handles outlive its paths. */
export class TreeFile {
  readonly image = new PartialImage()
  readonly #inode: number
  #changes = 0
  #writer: SimulatedProcess | undefined

  constructor(inode: number) {
    this.#inode = inode
  }

  /** The time of the last write. */
  get storedAt(): number {
    return this.image.writtenAt
  }

  get bytes(): Uint8Array {
    return this.image.written
  }

  /** Identifies the file and its content. */
  get version(): string {
    return `${this.#inode}.${this.#changes}`
  }

  write(offset: number, bytes: Uint8Array, writer: SimulatedProcess): void {
    this.#changes++
    this.#writer = writer
    this.image.write(offset, bytes)
    this.image.writtenAt = writer.platform.clock.wallTime()
  }

  truncate(length: number): void {
    this.#changes++
    this.image.truncate(length)
  }

  flush(): void {
    this.image.flush(this.image.written)
  }

  /** The machine of a process fails. */
  crash(process: SimulatedProcess, random: SeededRandom): void {
    if (this.#writer !== process) return
    this.#changes++
    this.image.crash(random)
  }
}

/** A partial file of an upload. */
export interface TreeGeneration {
  /** The token of the claim that wrote it. */
  readonly token: number
  readonly path: string
}

/** The files that the servers of a world share. They outlive all processes; each change of a path is atomic. */
export class SharedTree {
  /** Longest time of an operation. */
  readonly operationMs: number
  /** Partial files, incomplete copies and files without a name, by path. */
  readonly partial = new Map<string, TreeFile>()
  /** By user, then by name. */
  readonly published = new Map<string, Map<string, TreeFile>>()
  /** Until this time the operations of a server hang. */
  readonly hangsUntilMs = new Map<SimulatedProcess, number>()
  /** Set if programs use stored files. */
  stored: StoredFiles | undefined
  /** The fences of changes of published files. */
  readonly fences = new Set<string>()
  #inodes = 0

  constructor(operationMs: number) {
    this.operationMs = operationMs
  }

  /** The time for which an operation of a process hangs. */
  hangsMs(process: SimulatedProcess): number {
    return Math.max(0, (this.hangsUntilMs.get(process) ?? 0) - process.machine.time.now())
  }

  /** The machine of a process fails: what it has written and not flushed may be lost. */
  crash(process: SimulatedProcess, random: SeededRandom): void {
    for (const file of this.partial.values()) file.crash(process, random)
  }

  /** Creates a file without a path. */
  create(): TreeFile {
    return new TreeFile(++this.#inodes)
  }

  read(user: string, name: string): TreeFile | undefined {
    return this.published.get(user)?.get(name)
  }

  /** Moves a file into place, or gives it another name. */
  put(user: string, name: string, file: TreeFile, isRenamed = false): void {
    const names = this.published.get(user) ?? new Map<string, TreeFile>()
    this.published.set(user, names.set(name, file))
    this.stored?.put(user, name, file.bytes, file.version, isRenamed)
  }

  /** Removes a published file. Returns false if there is none. */
  unlink(user: string, name: string): boolean {
    const isRemoved = this.published.get(user)?.delete(name) ?? false
    if (isRemoved) this.stored?.gone(user, name)
    return isRemoved
  }

  pathOf(user: string, name: string, token: number): string {
    return `${recordKey(user, name)}\0${token}`
  }

  /** Returns the partial files of an upload, the one with the highest token first. */
  find(user: string, name: string): readonly TreeGeneration[] {
    const upload = `${recordKey(user, name)}\0`
    return [...this.partial.keys()]
      .filter((path) => path.startsWith(upload) && !path.endsWith(copySuffix))
      .map((path) => ({ token: Number(path.slice(upload.length)), path }))
      .sort((a, b) => b.token - a.token)
  }

  /** Returns the paths of a partial file. */
  pathsOf(file: TreeFile): readonly string[] {
    return [...this.partial].flatMap(([path, other]) => (other === file ? [path] : []))
  }

  /** Gives a file another path. Returns false if there is none at `from`. */
  move(from: string, to: string): boolean {
    const file = this.partial.get(from)
    if (!file) return false
    this.partial.delete(from)
    this.partial.set(to, file)
    return true
  }
}

/** The end of the path of a copy that is not complete. */
export const copySuffix = '\0new'
