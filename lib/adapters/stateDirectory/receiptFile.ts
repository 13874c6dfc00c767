import { type FileHandle, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import type { Receipt, ReceiptStore } from '../../ports/clientState.ts'
import { makePath, syncDirectory } from '../disk/directories.ts'
import { attempt, unless } from '../disk/faults.ts'
import { lineOf, receiptOf } from './receiptLine.ts'

/** The file is written anew when it has so many times the lines that are to be kept, and when it has this many. */
const growth = 8
const leastLines = 256

/**
 * Receipts in a file, one a line. A line that was not written to its end is none. Each put appends and flushes; now and then
 * the file is replaced by one with the latest lines only.
 */
export class ReceiptFile implements ReceiptStore {
  readonly #directory: string
  readonly #path: string
  /** The latest ones, as many as were last asked for or more. */
  #latest: Receipt[] = []
  #lines = 0
  /** Its end is a line that can be added to. */
  #sound = false
  #loaded = false

  constructor(directory: string) {
    this.#directory = directory
    this.#path = join(directory, 'receipts')
  }

  async load(): Promise<readonly Receipt[]> {
    const text = await unless(['ENOENT'], `reading ${this.#path}`, () => readFile(this.#path, 'utf8'))
    const lines = text?.split('\n') ?? []
    const receipts = lines.map(receiptOf).filter((receipt) => receipt !== undefined)
    this.#latest = receipts
    this.#lines = lines.length - 1
    // Behind the last line there is nothing, if it was written to its end; and what is damaged goes.
    this.#sound = text !== undefined && receipts.length === this.#lines && lines.at(-1) === ''
    this.#loaded = true
    return [...receipts]
  }

  async put(receipt: Receipt, most: number): Promise<void> {
    if (!this.#loaded) await this.load()
    const latest = [...this.#latest, receipt].slice(-most)
    const append = this.#sound && this.#lines < Math.max(leastLines, most * growth)
    this.#sound = false
    if (append) await this.#append(receipt)
    else await this.#replace(latest)
    this.#lines = append ? this.#lines + 1 : latest.length
    this.#latest = latest
    this.#sound = true
  }

  async #append(receipt: Receipt): Promise<void> {
    await attempt(`writing ${this.#path}`, () =>
      using(this.#path, 'a', async (file) => {
        await file.writeFile(lineOf(receipt))
        await file.datasync()
      }),
    )
  }

  async #replace(receipts: readonly Receipt[]): Promise<void> {
    await makePath(this.#directory)
    const fresh = `${this.#path}.new`
    await attempt(`writing ${fresh}`, async () => {
      await using(fresh, 'w', async (file) => {
        await file.writeFile(receipts.map(lineOf).join(''))
        await file.sync()
      })
      await rename(fresh, this.#path)
    })
    await syncDirectory(this.#directory)
  }
}

async function using(path: string, flags: 'a' | 'w', act: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(path, flags, 0o600)
  try {
    await act(file)
  } finally {
    await file.close()
  }
}
