import type { EventEmitter } from 'eventemitter3'
import type { OspError } from '../errors.ts'
import type { DigestName } from '../ports/platform.ts'
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
  /** The name it lies under on the server: another one where the server keeps stored files by renaming new ones. */
  readonly storedName: string
  /** Whether it took the place of another file, which the server had stored under this name before. */
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
  readonly why: OspError | undefined
  readonly progress: Progress
  /** Bytes of content that this process has sent for it and the server has acknowledged, repeated ones included. */
  readonly transferred: number
  /**
   * Resolves when the server has stored it. Rejects when it has failed; with `cancelled` when it was cancelled; with
   * `closed` when its client was. An unheard rejection is silent.
   */
  readonly finished: Promise<SentFile>
}
