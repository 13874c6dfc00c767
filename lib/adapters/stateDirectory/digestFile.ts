import * as z from 'zod/mini'
import { BoundedMap } from '../../core/boundedMap.ts'
import type { DigestStore } from '../../ports/clientState.ts'
import type { DigestName } from '../../ports/platform.ts'
import { GroupCommit } from '../../runtime/groupCommit.ts'
import { bytesOfHex, hex } from '../../runtime/hex.ts'
import { retriable } from '../../runtime/retriable.ts'
import { LineFile } from './lineFile.ts'

/** The file is rewritten when it has this many times as many lines as it needs. */
const growth = 4

/** The algorithm and the identity of a source, and its digest in hexadecimal. */
const digestLine = z.tuple([z.string(), z.string().check(z.regex(/^(?:[0-9a-f]{2})+$/u))])

type DigestLine = z.infer<typeof digestLine>

/** Stores the digests of sources in a file. */
export class DigestFile implements DigestStore {
  readonly #file: LineFile
  readonly #known = new BoundedMap<string, string>(0)
  readonly #commits = new GroupCommit<DigestLine>({
    commit: (group) => {
      const lines = group.map(({ item }) => item)
      return this.#file.store(lines, growth * this.#known.maxSize, () => [...this.#known])
    },
  })
  readonly #read = retriable(async () => {
    const values = await this.#file.load()
    const lines = values.flatMap((value) => (digestLine.safeParse(value).data ? [value as DigestLine] : []))
    this.#known.maxSize = Math.max(this.#known.maxSize, lines.length)
    for (const [key, digest] of lines) this.#known.set(key, digest)
  })

  constructor(path: string) {
    this.#file = new LineFile(path)
  }

  async find(identity: string, algorithm: DigestName): Promise<Uint8Array | undefined> {
    await this.#read()
    const digest = this.#known.get(`${algorithm} ${identity}`)
    return digest === undefined ? undefined : bytesOfHex(digest)
  }

  async put(identity: string, algorithm: DigestName, digest: Uint8Array, most: number): Promise<void> {
    await this.#read()
    const line: DigestLine = [`${algorithm} ${identity}`, hex(digest)]
    if (this.#known.get(line[0]) === line[1]) return
    this.#known.maxSize = most
    this.#known.set(...line)
    await this.#commits.add(line)
  }
}
