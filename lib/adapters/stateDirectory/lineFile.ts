import { type BigIntStats, closeSync, constants, fstatSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import { jsonOf } from '../../runtime/json.ts'
import { makePath, replaceFile } from '../disk/directories.ts'
import { attempt, unless } from '../disk/faults.ts'
import { writeDurably } from '../disk/partialFile.ts'
import { durableWrites, quickCalls } from '../disk/quickCalls.ts'
import { openTrustedSync } from '../disk/rights.ts'

/** A CRC-32 in eight hexadecimal digits, a space, and JSON. */
const line = /^([0-9a-f]{8}) (.*)$/su

/** The time for which a file stays open after a write. */
const openMs = 1_000

/** A file of JSON lines, each with a CRC-32. Damaged lines are ignored. Calls must be made one after another. */
export class LineFile {
  readonly #path: string
  #opened: { readonly fd: number; readonly place: string } | undefined
  #closing: NodeJS.Timeout | undefined
  /** Whether lines can be appended. Otherwise the file must be replaced. */
  #isSound = false
  #lines = 0

  constructor(path: string) {
    this.#path = path
  }

  async load(): Promise<readonly unknown[]> {
    const text = await unless(['ENOENT'], `reading ${this.#path}`, async () => {
      const fd = openTrustedSync(this.#path, constants.O_RDONLY)
      try {
        return readFileSync(fd, 'utf8')
      } finally {
        closeSync(fd)
      }
    })
    const lines = text?.split('\n') ?? []
    const values = lines.map(readLine).filter((value) => value !== undefined)
    this.#lines = Math.max(0, lines.length - 1)
    // The text after the last newline is empty if the last line is complete. A damaged line requires a replacement.
    this.#isSound = text !== undefined && values.length === this.#lines && lines.at(-1) === ''
    return values
  }

  /** Durably appends `added`. At `most` lines, or after damage or a failed write, atomically replaces all lines by `all`. */
  async store(added: readonly unknown[], most: number, all: () => readonly unknown[]): Promise<void> {
    const isAppended = this.#isSound && this.#lines < most
    this.#isSound = false
    if (isAppended) {
      await attempt(`writing ${this.#path}`, async () => {
        clearTimeout(this.#closing)
        try {
          await writeDurably(await this.#open(), [Buffer.from(textOf(added))])
        } finally {
          this.#closing = setTimeout(() => this.#close(), openMs).unref()
        }
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

  /** Returns the descriptor of the file, open for appending. The file stays open for `openMs` unless it is replaced. */
  async #open(): Promise<number> {
    const there = await quickCalls.lstat(this.#path)
    if (this.#opened && there && this.#opened.place === placeOf(there)) return this.#opened.fd
    this.#close()
    const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | durableWrites
    const fd = openTrustedSync(this.#path, flags)
    this.#opened = { fd, place: placeOf(fstatSync(fd, { bigint: true })) }
    return fd
  }

  #close(): void {
    const opened = this.#opened
    // A failed close also frees the descriptor.
    this.#opened = undefined
    try {
      if (opened) closeSync(opened.fd)
    } catch {
      // All lines are durable already.
    }
  }
}

const placeOf = ({ dev, ino }: BigIntStats) => `${dev}:${ino}`

function textOf(values: readonly unknown[]): string {
  return values
    .map((value) => JSON.stringify(value))
    .map((json) => `${sumOf(json)} ${json}\n`)
    .join('')
}

/** Returns the value of a line, or `undefined` if the line is incomplete or damaged. */
function readLine(text: string): unknown {
  const [, sum, json = ''] = line.exec(text) ?? []
  // The checksum of an empty text is also valid.
  return sum === sumOf(json) ? jsonOf(json) : undefined
}

const sumOf = (text: string) => crc32(text).toString(16).padStart(8, '0')
