import type { EventEmitter } from 'eventemitter3'
import type { OspError } from '../../errors.ts'
import type { DigestName } from '../../ports/platform.ts'
import type { UploadPhase } from './phases.ts'

export type { UploadPhase } from './phases.ts'

/** How far an upload is, in bytes. */
export interface Progress {
  /** Leading bytes that the server has acknowledged. */
  readonly acknowledged: number
  /** Leading bytes that would survive a crash of the server. */
  readonly durable: number
  /** Of the source, 0 until it was opened. */
  readonly size: number
}

/** What a finished upload has led to. */
export interface SentFile {
  /** The name it was sent under. */
  readonly name: string
  /** The name under which the server stores the file. It differs from `name` if the server renamed the file. */
  readonly storedName: string
  /** Whether it replaced another file that the server had stored under this name. */
  readonly replaced: boolean
  readonly size: number
  readonly algorithm: DigestName
  /** Of the whole file, in hexadecimal. */
  readonly digest: string
}

export interface UploadEvents {
  progress: [progress: Progress]
  phase: [phase: UploadPhase]
}

/** One upload of a client. What listeners throw is thrown again outside of the client, and changes nothing in it. */
export interface Upload extends EventEmitter<UploadEvents> {
  readonly id: number
  readonly name: string
  /** How its source is found again, if it can be: of a file, its path. */
  readonly ref: string | undefined
  readonly phase: UploadPhase
  /** Why it waits, has failed or was cancelled, where there is something to say. */
  readonly error: OspError | undefined
  readonly progress: Progress
  /** Content bytes that this process sent for it and the server acknowledged, including repeated ones. */
  readonly transferred: number
  /**
   * Resolves when the server has stored it. Rejects when it has failed; with `cancelled` when it was cancelled; with
   * `closed` when its client was. An unheard rejection is silent.
   */
  readonly done: Promise<SentFile>
}
