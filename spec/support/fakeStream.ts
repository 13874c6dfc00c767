import { Duplex } from 'node:stream'

/** A stream of bytes that a spec writes to and reads from by hand, as one end of a `ByteSocket`. */
export class FakeStream extends Duplex {
  readonly wrote: Buffer[] = []
  /** Whether what is written to it leaves. */
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

  /** The other side says these bytes. */
  hear(bytes: Uint8Array): void {
    if (!this.destroyed) this.push(bytes)
  }

  /** The other side has said everything. */
  hearEnd(): void {
    if (!this.destroyed) this.push(null)
  }
}
