import type { Instance } from '../../core/pool.ts'
import { OspError } from '../../errors.ts'
import type { NewTransfer, StoredFile } from '../../ports/storage.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { Mutex } from '../../runtime/mutex.ts'
import type { Parts } from '../../wire/codec.ts'
import { lengthOf } from '../../wire/codec.ts'
import type { Connection } from '../app.ts'
import type { Transfer } from './transfer.ts'

export type FileState = 'IDLE' | 'RECEIVE_FILE'

/** How far an upload is: what every POST_FILE_ACK says. */
export interface Standing {
  readonly progress: number
  readonly durable: number
}

/** What is asked when it is a chunk's turn. */
export interface Gate {
  /** What its sender is told who has lost the upload. */
  denied(): OspError
  /** Rejects where there is no room for more; nothing where there is. */
  room(bytes: number): Promise<void> | undefined
}

interface Chunk {
  readonly by: Connection
  readonly offset: number
  readonly content: Parts
  readonly answer: Deferred<Standing>
}

/**
 * One (user, name) at present: the requests about it wait in `queue`, and are carried out one after another. It has an
 * instance while a link sends it, and a transfer (or the completed file) while it is open; without an instance it is parked.
 */
export class Upload {
  readonly queue = new Mutex()
  readonly user: string
  readonly name: string
  /** What it is open for; `undefined` while it is not open. */
  want: NewTransfer | undefined
  instance: Instance<FileState> | undefined
  transfer: Transfer | undefined
  /** Set where the file is stored already and its note stands: only its digest is still to be told. */
  completed: StoredFile | undefined
  /** Largest chunk that was granted to its holder, in bytes; 0 before. */
  chunkBytes = 0
  /** What it adds to the quota of its user once it is published; counts while it has an instance. */
  growth = 0
  /** Files and folders that it adds, at most. */
  entries = 0
  /** Disk space reserved for it when it got its instance. */
  neededBytes = 0
  /** When it got its instance. */
  heldSinceMs = 0
  /** When it got its instance, or last got further since. */
  movedAtMs = 0
  #gathering: Chunk[] | undefined

  constructor(user: string, name: string) {
    this.user = user
    this.name = name
  }

  get size(): number {
    return this.want?.size ?? 0
  }

  get standing(): Standing {
    if (this.transfer) return { progress: this.transfer.progress, durable: this.transfer.durable }
    const stored = this.completed?.size ?? 0
    return { progress: stored, durable: stored }
  }

  /** Whether it is open for this very upload. */
  isOf(want: NewTransfer): boolean {
    const { want: open } = this
    return open?.size === want.size && open.modifiedAt === want.modifiedAt && open.algorithm === want.algorithm
  }

  heldBy(caller: Connection): boolean {
    return this.instance?.holder?.node === caller.node
  }

  /** Queues a request that is not a chunk; later chunks do not pass it. */
  run<T>(job: () => Promise<T>): Promise<T> {
    this.#gathering = undefined
    return this.queue.run(job)
  }

  /** Queues a chunk. Chunks that wait together are written together. Rejects as `gate` says. */
  post(chunk: Omit<Chunk, 'answer'>, gate: Gate): Promise<Standing> {
    const answer = deferred<Standing>()
    if (!this.#gathering) {
      const gathered: Chunk[] = []
      this.#gathering = gathered
      void this.queue.run(async () => {
        if (this.#gathering === gathered) this.#gathering = undefined
        await this.#write(gathered, gate)
      })
    }
    this.#gathering.push({ ...chunk, answer })
    return answer.promise
  }

  /** Writes those that go on where the progress stands; all others change nothing and learn the true progress. */
  async #write(chunks: readonly Chunk[], gate: Gate): Promise<void> {
    const due = chunks.filter((chunk) => this.#admit(chunk, gate))
    let end = this.standing.progress
    const parts: Uint8Array[] = []
    for (const { offset, content } of due) {
      if (offset !== end) continue
      parts.push(...content)
      end += lengthOf(content)
    }
    try {
      const room = parts.length > 0 ? gate.room(end - this.standing.progress) : undefined
      if (room) await room
      if (parts.length > 0) await this.transfer?.write(parts)
      for (const { answer } of due) answer.resolve(this.standing)
    } catch (error) {
      for (const { answer } of due) answer.reject(error)
    }
  }

  /** What is judged before the offset. */
  #admit({ by, offset, content, answer }: Chunk, { denied }: Gate): boolean {
    const length = lengthOf(content)
    if (!this.heldBy(by)) answer.reject(denied())
    else if (length > this.chunkBytes)
      answer.reject(new OspError('too-large', `a chunk has at most ${this.chunkBytes} bytes here`))
    else if (offset + length > this.size)
      answer.reject(new OspError('too-large', 'the chunk goes beyond the size of the file'))
    else return true
    return false
  }
}
