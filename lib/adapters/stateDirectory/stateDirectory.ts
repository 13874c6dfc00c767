import { join, resolve } from 'node:path'
import { z } from 'zod'
import { userName } from '../../nameSchemas.ts'
import { checkArgument, kinds } from '../../options.ts'
import type { ClientState, Receipt, ReceiptStore } from '../../ports/clientState.ts'
import { file } from '../node/fileSource.ts'
import { LineFile } from './lineFile.ts'
import { discardSpooled } from './spool.ts'
import { TaskFile } from './taskFile.ts'

/**
 * Returns the client state in a directory, for one user on one server. The directory is created at the first write. Only one
 * process at a time may use it for messages, and one for uploads.
 */
export function stateDirectory(path: string): Required<ClientState> {
  checkArgument('stateDirectory', 'the path', kinds.path, path)
  const directory = resolve(path)
  return {
    receipts: new ReceiptFile(join(directory, 'receipts')),
    tasks: new TaskFile(join(directory, 'tasks')),
    reopen: (ref) => file(ref),
    discard: (ref) => discardSpooled(directory, ref),
  }
}

/** The file is rewritten when it has `growth` times the lines that are needed, but at least `leastLines`. */
const growth = 8
const leastLines = 256

const receipt = z.object({
  seq: z.int().min(0),
  sender: userName,
  id: z.string().regex(/^[0-9a-f]{32}$/u),
})

/** Stores receipts in a file. Each `put` appends a line. The file is occasionally rewritten with the latest lines only. */
class ReceiptFile implements ReceiptStore {
  readonly #file: LineFile
  /** The latest receipts, at least as many as the last `put` requested. */
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
    await this.#file.store([added], Math.max(leastLines, most * growth), () => latest)
    this.#latest = latest
  }
}
