import { z } from 'zod'
import { userName } from '../../nameSchemas.ts'
import type { Receipt, ReceiptStore } from '../../ports/clientState.ts'
import { LineFile } from './lineFile.ts'

/** The file is written anew when it has so many times the lines that are to be kept, and when it has this many. */
const growth = 8
const leastLines = 256

const receipt = z.object({
  seq: z.int().min(0),
  sender: userName,
  id: z.string().regex(/^[0-9a-f]{32}$/u),
})

/** Receipts in a file. Each put adds a line; now and then the file is replaced by one with the latest lines only. */
export class ReceiptFile implements ReceiptStore {
  readonly #file: LineFile
  /** The latest ones, as many as were last asked for or more. */
  #latest: Receipt[] = []
  #isLoaded = false

  constructor(path: string) {
    this.#file = new LineFile(path)
  }

  async load(): Promise<readonly Receipt[]> {
    const values = await this.#file.load()
    this.#latest = values.flatMap((value) => receipt.safeParse(value).data ?? [])
    this.#isLoaded = true
    return [...this.#latest]
  }

  async put({ seq, sender, id }: Receipt, most: number): Promise<void> {
    if (!this.#isLoaded) await this.load()
    const added = { seq, sender, id }
    const latest = [...this.#latest, added].slice(-most)
    if (this.#file.isSound && this.#file.lines < Math.max(leastLines, most * growth)) await this.#file.append([added])
    else await this.#file.replace(latest)
    this.#latest = latest
  }
}
