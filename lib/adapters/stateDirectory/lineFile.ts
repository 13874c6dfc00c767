import { constants } from 'node:fs'
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import { jsonOf } from '../../runtime/json.ts'
import { makePath, replaceFile } from '../disk/directories.ts'
import { attempt, unless } from '../disk/faults.ts'
import { openTrusted } from '../disk/rights.ts'

/** A CRC-32 in eight hexadecimal digits, a space, and JSON. */
const line = /^([0-9a-f]{8}) (.*)$/su

/** A file of JSON lines, each with a CRC-32. Damaged lines are ignored. Calls must be made one after another. */
export class LineFile {
  readonly #path: string
  /** Whether lines can be appended. Otherwise the file must be replaced. */
  #isSound = false
  #lines = 0

  constructor(path: string) {
    this.#path = path
  }

  async load(): Promise<readonly unknown[]> {
    const text = await unless(['ENOENT'], `reading ${this.#path}`, async () => {
      await using file = await openTrusted(this.#path, constants.O_RDONLY)
      return await file.readFile('utf8')
    })
    const lines = text?.split('\n') ?? []
    const values = lines.map(readLine).filter((value) => value !== undefined)
    this.#lines = Math.max(0, lines.length - 1)
    // The text after the last newline is empty if the last line is complete. A damaged line requires a replacement.
    this.#isSound = text !== undefined && values.length === this.#lines && lines.at(-1) === ''
    return values
  }

  /** Appends `added`. At `most` lines, or after damage or a failed write, it replaces all lines by `all` atomically. Durable. */
  async store(added: readonly unknown[], most: number, all: () => readonly unknown[]): Promise<void> {
    const isAppended = this.#isSound && this.#lines < most
    this.#isSound = false
    if (isAppended) {
      await attempt(`writing ${this.#path}`, async () => {
        await using file = await openTrusted(this.#path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT)
        await file.writeFile(textOf(added))
        await file.datasync()
      })
      this.#lines += added.length
    } else {
      const values = all()
      await makePath(dirname(this.#path))
      await replaceFile(this.#path, textOf(values), true)
      this.#lines = values.length
    }
    this.#isSound = true
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
  // The checksum of an empty text is also valid.
  return sum === sumOf(json) ? jsonOf(json) : undefined
}

const sumOf = (text: string) => crc32(text).toString(16).padStart(8, '0')
