import { constants } from 'node:fs'
import { type FileHandle, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import { makePath, syncDirectory } from '../disk/directories.ts'
import { attempt, unless } from '../disk/faults.ts'
import { makeOwnFile, openTrusted } from '../disk/rights.ts'

/** A CRC-32 in eight hexadecimal digits, a space, and JSON. */
const line = /^([0-9a-f]{8}) (.*)$/su

/**
 * A file of JSON lines, each with a CRC-32. The directory is created at the first write. Incomplete and damaged lines are
 * ignored. Calls must be made one after another.
 */
export class LineFile {
  readonly #path: string
  #isSound = false
  #lines = 0

  constructor(path: string) {
    this.#path = path
  }

  /** Whether lines can be appended. Otherwise the file must be replaced. */
  get isSound(): boolean {
    return this.#isSound
  }

  get lines(): number {
    return this.#lines
  }

  /** Resolves with the values of all lines. */
  async load(): Promise<readonly unknown[]> {
    const text = await unless(['ENOENT'], `reading ${this.#path}`, () =>
      using(openTrusted(this.#path, constants.O_RDONLY), (file) => file.readFile('utf8')),
    )
    const lines = text?.split('\n') ?? []
    const values = lines.map(readLine).filter((value) => value !== undefined)
    this.#lines = Math.max(0, lines.length - 1)
    // The text after the last newline is empty if the last line is complete. A damaged line requires a replacement.
    this.#isSound = text !== undefined && values.length === this.#lines && lines.at(-1) === ''
    return values
  }

  /** Appends lines durably. After a rejection the file must be replaced. */
  async append(values: readonly unknown[]): Promise<void> {
    this.#isSound = false
    await attempt(`writing ${this.#path}`, () =>
      using(openTrusted(this.#path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT), async (file) => {
        await file.writeFile(textOf(values))
        await file.datasync()
      }),
    )
    this.#isSound = true
    this.#lines += values.length
  }

  /** Replaces all lines, atomically and durably. */
  async replace(values: readonly unknown[]): Promise<void> {
    this.#isSound = false
    const directory = dirname(this.#path)
    await makePath(directory)
    const fresh = `${this.#path}.new`
    await attempt(`writing ${fresh}`, async () => {
      await using(makeOwnFile(fresh, constants.O_WRONLY), async (file) => {
        await file.writeFile(textOf(values))
        await file.sync()
      })
      await rename(fresh, this.#path)
    })
    await syncDirectory(directory)
    this.#isSound = true
    this.#lines = values.length
  }
}

const textOf = (values: readonly unknown[]) => values.map(lineOf).join('')

function lineOf(value: unknown): string {
  const text = JSON.stringify(value)
  return `${sumOf(text)} ${text}\n`
}

/** Returns the value of a line, or `undefined` if the line is incomplete or damaged. */
function readLine(text: string): unknown {
  const [, sum, json = ''] = line.exec(text) ?? []
  if (sum !== sumOf(json)) return undefined
  try {
    return JSON.parse(json)
  } catch {
    // The checksum of an empty text is also valid.
    return undefined
  }
}

const sumOf = (text: string) => crc32(text).toString(16).padStart(8, '0')

async function using<T>(opening: Promise<FileHandle>, act: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await opening
  try {
    return await act(file)
  } finally {
    await file.close()
  }
}
