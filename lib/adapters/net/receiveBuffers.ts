import { KiB, MiB } from '../../limits.ts'
import type { PayloadBuffers } from '../../wire/frame.ts'

/** Total length of the buffers of incomplete payloads. Beyond it, payloads are received in small blocks. */
const maxIncompleteBytes = 64 * MiB
/** Total length of the buffers that are kept for reuse. */
const maxFreeBytes = 32 * MiB
/** Lengths are rounded up, so that payloads of similar lengths can share buffers. */
const step = 64 * KiB
/** Length of the buffer that all sockets read into. It holds a whole batch of files of 1 KiB. */
const sharedBytes = 128 * KiB

/** The buffers of all sockets of a listener: one that all of them read into, and one for each long payload. */
export class ReceiveBuffers implements PayloadBuffers {
  /** Its bytes are handled before the next read, so all sockets can share it. */
  readonly shared = Buffer.allocUnsafeSlow(sharedBytes)
  readonly #free: Uint8Array[] = []
  #freeBytes = 0
  #incompleteBytes = 0

  take(length: number): Uint8Array | undefined {
    const rounded = Math.ceil(length / step) * step
    if (this.#incompleteBytes + rounded > maxIncompleteBytes) return undefined
    const at = this.#free.findLastIndex((buffer) => buffer.length >= rounded && buffer.length < 2 * rounded)
    const [reused] = at < 0 ? [] : this.#free.splice(at, 1)
    if (reused) this.#freeBytes -= reused.length
    const buffer = reused ?? Buffer.allocUnsafeSlow(rounded)
    this.#incompleteBytes += buffer.length
    return buffer
  }

  settled(buffer: Uint8Array): void {
    this.#incompleteBytes -= buffer.length
  }

  put(buffer: Uint8Array): void {
    if (this.#freeBytes + buffer.length > maxFreeBytes) return
    this.#free.push(buffer)
    this.#freeBytes += buffer.length
  }
}
