import type { Instance } from '../../core/pool.ts'
import { OspError } from '../../errors.ts'
import type { NewTransfer, StoredFile } from '../../ports/storage.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { Mutex } from '../../runtime/mutex.ts'
import { lengthOf, type Parts } from '../../wire/codec.ts'
import type { Connection } from '../app.ts'
import type { ReceivingUpload } from '../status.ts'
import type { Transfer } from './transfer.ts'

export type FileState = 'IDLE' | 'RECEIVE_FILE' | 'SEND_FILE'

/** How far an upload is. Each POST_FILE_ACK contains it. */
export type Standing = Pick<ReceivingUpload, 'progress' | 'durable'>

/** Space reserved for an upload until it is parked or closed. Its requests may still run after its link was lost. */
export interface Reservation {
  /** Bytes that it adds to the quota of its user when it is published. */
  readonly growth: number
  /** Files and folders that it adds, at most. */
  readonly entries: number
  /** Disk space that it needed when it got its instance. */
  readonly diskBytes: number
}

const noReservation: Reservation = { growth: 0, entries: 0, diskBytes: 0 }

/** The holder of a reservation: an upload, or a batch of small files. */
export class ReservationHolder {
  readonly user: string
  reserved: Reservation | undefined

  constructor(user: string) {
    this.user = user
  }

  reserve(parts: Partial<Reservation>): void {
    this.reserved = { ...noReservation, ...this.reserved, ...parts }
  }
}

/** What an upload is open for, and the bytes that it receives, or the stored file. */
interface Opened {
  readonly want: NewTransfer
  readonly transfer?: Transfer
  readonly completed?: StoredFile
}

/** Checks a chunk before it is written. */
interface ChunkGate {
  /** Returns the error for a sender that does not hold the instance. */
  denied(): OspError
  /** Returns `undefined` if the bytes fit the quota and the disk, or a promise that rejects if they do not fit. */
  checkSpace(bytes: number): Promise<void> | undefined
}

interface Chunk {
  readonly by: Connection
  readonly offset: number
  readonly content: Parts
  readonly answer: Deferred<Standing>
}

/**
 * The state of one (user, name) in memory. Requests about it wait in `queue` and run one at a time.
 *
 * An upload is open while it has a transfer, or the completed file that it has become. It has an instance while a link sends it;
 * an open upload without an instance is parked.
 */
export class ServerUpload extends ReservationHolder {
  readonly queue = new Mutex()
  readonly name: string
  #opened: Opened | undefined
  instance: Instance<FileState> | undefined
  /** Largest chunk that was granted to the holder, in bytes; 0 before the grant. */
  chunkBytes = 0
  assignedAtMs = 0
  /** When the progress last rose, or the instance was assigned. */
  progressedAtMs = 0
  #gathering: Chunk[] | undefined

  constructor(user: string, name: string) {
    super(user)
    this.name = name
  }

  get isOpen(): boolean {
    return this.#opened !== undefined
  }

  get transfer(): Transfer | undefined {
    return this.#opened?.transfer
  }

  /** The stored file that this upload has become. Its client only has to send the digest. */
  get completed(): StoredFile | undefined {
    return this.#opened?.completed
  }

  /** The upload that this object was opened for. */
  get want(): NewTransfer | undefined {
    return this.#opened?.want
  }

  /** The name under which the file is to be stored. */
  get storeAs(): string {
    return this.#opened?.want.storeAs ?? this.name
  }

  get size(): number {
    return this.#opened?.want.size ?? 0
  }

  get standing(): Standing {
    const { progress, durable } = this.transfer ?? {}
    const stored = this.completed?.size ?? 0
    return { progress: progress ?? stored, durable: durable ?? stored }
  }

  /** Returns whether it is open for the same file version and digest algorithm. */
  isOf(want: NewTransfer): boolean {
    const open = this.#opened?.want
    return open?.size === want.size && open.modifiedAt === want.modifiedAt && open.algorithm === want.algorithm
  }

  heldBy(caller: Connection): boolean {
    return this.instance?.holder?.node === caller.node
  }

  open(opened: Opened): void {
    this.#opened = opened
  }

  /** Closes the transfer, if there is one. The record keeps its last checkpoint. */
  close(): Promise<void> | undefined {
    const { transfer } = this
    this.#opened = undefined
    return transfer?.close()
  }

  assign(instance: Instance<FileState>, now: number): void {
    this.instance = instance
    this.chunkBytes = 0
    this.reserved = undefined
    this.assignedAtMs = now
    this.progressedAtMs = now
  }

  /** Grants the holder chunks of this size, unless a size was granted before: longer chunks may be on their way. */
  grant(chunkBytes: number): number {
    this.chunkBytes ||= chunkBytes
    return this.chunkBytes
  }

  /** Runs a request that is not a chunk, after the requests before it. Later chunks do not overtake it. */
  run<T>(job: () => Promise<T>): Promise<T> {
    this.#gathering = undefined
    return this.queue.run(job)
  }

  /** Writes a chunk, after the requests before it. Chunks that wait together are written together. */
  post(chunk: Omit<Chunk, 'answer'>, gate: ChunkGate): Promise<Standing> {
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

  /** Writes the chunks that continue at the progress. All other chunks change nothing, and their answer has the progress. */
  async #write(chunks: readonly Chunk[], gate: ChunkGate): Promise<void> {
    const due = chunks.filter((chunk) => this.#admit(chunk, gate))
    let end = this.standing.progress
    const parts: Uint8Array[] = []
    for (const { offset, content } of due) {
      if (offset !== end) continue
      parts.push(...content)
      end += lengthOf(content)
    }
    try {
      if (parts.length > 0) {
        const check = gate.checkSpace(end - this.standing.progress)
        if (check) await check
        await this.transfer?.write(parts)
      }
      for (const { answer } of due) answer.resolve(this.standing)
    } catch (error) {
      for (const { answer } of due) answer.reject(error)
    }
  }

  /** Rejects a chunk that is not allowed, whatever its offset. */
  #admit({ by, offset, content, answer }: Chunk, { denied }: ChunkGate): boolean {
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
