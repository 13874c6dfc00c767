import { Duplex } from 'node:stream'

/** A byte stream that a spec writes to and reads from by hand, as one end of a `ByteSocket`. */
export class FakeStream extends Duplex {
  readonly wrote: Buffer[] = []
  /** Whether written data is flushed. */
  readonly #takes: boolean

  constructor({ takes = true } = {}) {
    super({ allowHalfOpen: false })
    this.#takes = takes
  }

  override _read(): void {}

  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    this.wrote.push(bytes)
    if (this.#takes) done()
  }

  /** Receives these bytes from the other side. */
  hear(bytes: Uint8Array): void {
    if (!this.destroyed) this.push(bytes)
  }

  /** Ends the stream from the other side. */
  hearEnd(): void {
    if (!this.destroyed) this.push(null)
  }
}
