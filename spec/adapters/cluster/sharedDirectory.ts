import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ClusterStorage } from '../../../lib/adapters/cluster/clusterStorage.ts'
import type { Steps } from '../../../lib/adapters/cluster/steps.ts'
import { DiskFiles } from '../../../lib/adapters/disk/files.ts'
import { layoutOf } from '../../../lib/adapters/disk/layout.ts'
import { type TemporaryDirectory, temporaryDirectory } from '../../testing/storage/places.ts'

/** A directory of files that several servers share. */
export class SharedDirectory implements AsyncDisposable {
  readonly #directory: TemporaryDirectory

  private constructor(directory: TemporaryDirectory) {
    this.#directory = directory
  }

  static async create(): Promise<SharedDirectory> {
    const directory = await temporaryDirectory()
    const { partial, files, format } = layoutOf(directory.path)
    for (const path of [partial, files]) await mkdir(path)
    await writeFile(format, '')
    return new SharedDirectory(directory)
  }

  get path(): string {
    return this.#directory.path
  }

  /** Returns the storage of a further server, which is not open yet. */
  storage(steps: Steps): ClusterStorage {
    const layout = layoutOf(this.#directory.path)
    const info = { name: 'a', version: '3', address: '' }
    return new ClusterStorage(
      steps,
      info,
      (claims, digests) => new DiskFiles(layout, claims, async () => {}, digests, claims),
    )
  }

  /** Resolves with the content of a published file, or `undefined` if there is none. */
  async read(user: string, name: string): Promise<Uint8Array | undefined> {
    const path = join(layoutOf(this.#directory.path).files, user, name)
    return readFile(path).then(
      (bytes) => Uint8Array.from(bytes),
      () => undefined,
    )
  }

  /** Resolves with the inodes of the partial files of uploads. */
  async partialInodes(): Promise<bigint[]> {
    const { partial } = layoutOf(this.#directory.path)
    const paths = (await readdir(partial, { recursive: true })).filter((path) => /\.\d+$/u.test(path))
    return Promise.all(paths.map(async (path) => (await stat(join(partial, path), { bigint: true })).ino))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#directory[Symbol.asyncDispose]()
  }
}
