import { OspError } from '../errors.ts'
import { type Codec, Reader, Writer } from './codec.ts'
import { bytes, type Fields, list, mark, raw, str, struct, u8, u64, type ValuesOf } from './fields.ts'

const texts = list(struct({ key: str, value: str }))

/** A stored file that a message refers to. `readers` may read it until `until`, as `proof` shows. */
const fileReference = struct({
  owner: str,
  fileName: str,
  version: str,
  size: u64,
  modifiedAt: u64,
  digest: u8,
  fileDigest: bytes,
  metadata: texts,
  readers: list(str),
  until: u64,
  proof: bytes,
})

/** The outcome of a message for one of its recipients. The content of the message that has this part is the result. */
const receiptPart = struct({ messageId: raw(16), recipient: str, state: u8, at: u64 })

/** The optional parts of a message, in the order of their bits in the first byte of the body. */
const attributeFields = {
  headers: texts,
  timeToLive: u64,
  inReplyTo: raw(16),
  file: fileReference,
  receiptWanted: mark,
  receipt: receiptPart,
} satisfies Fields

type AttributeFields = typeof attributeFields
const attributeEntries = Object.entries(attributeFields) as [keyof AttributeFields, Codec<unknown>][]

/** The optional parts of a message. */
export type Attributes = Partial<ValuesOf<AttributeFields>>

/** The parts that only a server may add. */
const serverParts = ['file', 'receipt'] as const

/**
 * Encodes a message: a byte with a bit for each present part, these parts, and the content. `take` returns the memory for it.
 */
export function encodeBody(
  attributes: Attributes,
  content: Uint8Array,
  take: (length: number) => Uint8Array = (length) => new Uint8Array(length),
): Uint8Array {
  let flags = 0
  let size = 1
  for (const [bit, [name, codec]] of attributeEntries.entries()) {
    const value = attributes[name]
    if (value === undefined) continue
    flags |= 1 << bit
    size += codec.size(value)
  }
  const writer = new Writer(take(size + content.length))
  u8.write(writer, flags)
  for (const [name, codec] of attributeEntries)
    if (attributes[name] !== undefined) codec.write(writer, attributes[name])
  writer.bytes.set(content, writer.take(content.length))
  return writer.bytes
}

/** Decodes a body. Byte fields alias it. Throws OspError `malformed` if it is not valid. */
export function decodeBody(body: Uint8Array): { readonly attributes: Attributes; readonly content: Uint8Array } {
  const reader = new Reader([body])
  const flags = u8.read(reader)
  if (flags >> attributeEntries.length !== 0) throw new OspError('malformed', 'a message has an unknown part')
  const attributes: Record<string, unknown> = {}
  for (const [bit, [name, codec]] of attributeEntries.entries())
    if ((flags & (1 << bit)) !== 0) attributes[name] = codec.read(reader)
  return { attributes, content: reader.take(reader.left) }
}

/** Returns the parts of a body that only a server may add. */
export const serverPartsOf = (attributes: Attributes) => serverParts.filter((name) => attributes[name] !== undefined)
