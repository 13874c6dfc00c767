import { type Parts, Writer } from '../../wire/codec.ts'
import { list, struct, u8, u32 } from '../../wire/fields.ts'
import { rosterChange, rosterEntry, rosterKind } from '../../wire/protocol.ts'

const head = struct({ listVersion: u32, kind: u8, members: list(rosterEntry) })

/**
 * The entries of the whole list as they stand on the wire, one behind the other in the order in which they came. Everybody
 * who registers is sent all of them: to encode each anew for each would take a server with many clients most of its time.
 */
export class EncodedMembers {
  /** Bytes of each entry, by node. */
  readonly #lengths = new Map<number, number>()
  #bytes = new Uint8Array(1_024)
  #filled = 0

  add(node: number, userName: string): void {
    const entry = { change: rosterChange.here, node, userName }
    const writer = new Writer(rosterEntry.size(entry))
    rosterEntry.write(writer, entry)
    const { bytes } = writer
    if (this.#filled + bytes.length > this.#bytes.length) {
      const larger = new Uint8Array(2 * (this.#filled + bytes.length))
      larger.set(this.#bytes.subarray(0, this.#filled))
      this.#bytes = larger
    }
    this.#bytes.set(bytes, this.#filled)
    this.#filled += bytes.length
    this.#lengths.set(node, bytes.length)
  }

  remove(node: number): void {
    let at = 0
    for (const [other, length] of this.#lengths) {
      if (other === node) {
        this.#bytes.copyWithin(at, at + length, this.#filled)
        this.#filled -= length
        break
      }
      at += length
    }
    this.#lengths.delete(node)
  }

  /** The payload of REGIST_LIST_NTF or LIST_ACK with all of them. */
  payload(listVersion: number): Parts {
    const empty = { listVersion, kind: rosterKind.whole, members: [] }
    const writer = new Writer(head.size(empty))
    head.write(writer, empty)
    // The count of the entries stands last in the head.
    writer.at -= 2
    writer.unsigned(2, this.#lengths.size)
    return [writer.bytes, this.#bytes.slice(0, this.#filled)]
  }
}
