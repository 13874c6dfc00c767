import { constants } from 'node:fs'
import { type FileHandle, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import { makePath, syncDirectory } from '../disk/directories.ts'
import { attempt, unless } from '../disk/faults.ts'
import { makeOwnFile, openTrusted } from '../disk/rights.ts'

/** Eight hexadecimal digits of a CRC-32, a space, JSON. */
const line = /^([0-9a-f]{8}) (.*)$/su

/**
 * Lines of JSON in a file, each with a CRC-32; its directory is made when something is first kept. A line that was not
 * written to its end, or is damaged, is none. Calls are made one after another.
 */
export class LineFile {
  readonly #path: string
  /** Its end is a line that can be added to. */
  #isSound = false
  #lines = 0

  constructor(path: string) {
    this.#path = path
  }

  /** Whether it can be added to; else it has to be replaced. */
  get isSound(): boolean {
    return this.#isSound
  }

  get lines(): number {
    return this.#lines
  }

  /** What its lines hold. */
  async load(): Promise<readonly unknown[]> {
    const text = await unless(['ENOENT'], `reading ${this.#path}`, () =>
      using(openTrusted(this.#path, constants.O_RDONLY), (file) => file.readFile('utf8')),
    )
    const lines = text?.split('\n') ?? []
    const values = lines.map(readLine).filter((value) => value !== undefined)
    this.#lines = Math.max(0, lines.length - 1)
    // Behind the last line there is nothing, if it was written to its end; and what is damaged goes.
    this.#isSound = text !== undefined && values.length === this.#lines && lines.at(-1) === ''
    return values
  }

  /** Adds lines: durable. After a rejection it has to be replaced. */
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

  /** Puts these lines in the place of all: durable, and whole or not at all. */
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

/** `undefined` if it is no whole line. */
function readLine(text: string): unknown {
  const [, sum, json = ''] = line.exec(text) ?? []
  if (sum !== sumOf(json)) return undefined
  try {
    return JSON.parse(json)
  } catch {
    // Nothing, whose sum is right as well.
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
