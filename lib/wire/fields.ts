import { OspError } from '../errors.ts'
import type { Codec, Parts, ValueOf } from './codec.ts'

const malformed = (text: string) => new OspError('malformed', text)

function unsigned(form: string, bytes: number, most: number): Codec<number> {
  return {
    form,
    size(value) {
      if (!Number.isInteger(value) || value < 0 || value > most) {
        throw new RangeError(`${value} is not an integer from 0 to ${most}`)
      }
      return bytes
    },
    write: (to, value) => to.unsigned(bytes, value),
    read(from) {
      const value = from.unsigned(bytes)
      if (value > most) throw malformed(`a number is over ${most}`)
      return value
    },
  }
}

export const u8 = unsigned('u8', 1, 0xff)
export const u16 = unsigned('u16', 2, 0xffff)
export const u32 = unsigned('u32', 4, 0xffff_ffff)
/** Up to 2^53 - 1, the largest exact integer of JavaScript. */
export const u64 = unsigned('u64', 8, Number.MAX_SAFE_INTEGER)
/** A u64 that reads each value above 2^53 - 1 as 2^53, so that the request can be refused without ending the link. */
export const boundedU64: Codec<number> = {
  ...unsigned('u64', 8, 2 ** 53),
  read: (from) => Math.min(from.unsigned(8), 2 ** 53),
}

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Most strings are names. Short ones in ASCII are encoded here, because the encoders of the platform take much longer. */
const shortLength = 64

function isAscii(value: string): boolean {
  if (value.length > shortLength) return false
  for (let index = 0; index < value.length; index++) if (value.charCodeAt(index) >= 0x80) return false
  return true
}

/** Returns ASCII bytes as text, or `undefined` if a byte is not ASCII. */
function asciiOf(bytes: Uint8Array): string | undefined {
  for (let index = 0; index < bytes.length; index++) if ((bytes[index] ?? 0) >= 0x80) return undefined
  return String.fromCharCode.apply(undefined, bytes as unknown as number[])
}

/** UTF-8 after its length in bytes, a u16. */
export const str: Codec<string> = {
  form: 'str',
  size(value) {
    if (isAscii(value)) return 2 + value.length
    if (!value.isWellFormed()) throw new RangeError('a string with a lone surrogate has no UTF-8 form')
    const length = encoder.encode(value).length
    if (length > 0xffff) throw new RangeError(`a string of ${length} bytes is over 65535`)
    return 2 + length
  },
  write(to, value) {
    if (isAscii(value)) {
      u16.write(to, value.length)
      const at = to.take(value.length)
      for (let index = 0; index < value.length; index++) to.bytes[at + index] = value.charCodeAt(index)
      return
    }
    const bytes = encoder.encode(value)
    u16.write(to, bytes.length)
    to.bytes.set(bytes, to.take(bytes.length))
  },
  read(from) {
    const bytes = from.take(u16.read(from))
    if (bytes.length <= shortLength) {
      const text = asciiOf(bytes)
      if (text !== undefined) return text
    }
    try {
      return decoder.decode(bytes)
    } catch {
      throw malformed('a string is not valid UTF-8')
    }
  },
}

/** Bytes after their length, a u32. A read value aliases the input. */
export const bytes: Codec<Uint8Array> = {
  form: 'bytes',
  size: (value) => 4 + value.length,
  write(to, value) {
    u32.write(to, value.length)
    to.bytes.set(value, to.take(value.length))
  },
  read: (from) => from.take(u32.read(from)),
}

/** A part without bytes, whose presence is its value. */
export const mark: Codec<true> = { form: '{ }', size: () => 0, write: () => {}, read: () => true }

/** Exactly `length` bytes, without a length field. A read value aliases the input. */
export function raw(length: number): Codec<Uint8Array> {
  return {
    form: `${length} raw`,
    size(value) {
      if (value.length !== length) throw new RangeError(`${value.length} bytes are not ${length}`)
      return length
    },
    write: (to, value) => to.bytes.set(value, to.take(length)),
    read: (from) => from.take(length),
  }
}

/** The rest of the payload, written and read without a copy. It must be the last field of a message. */
export const rest: Codec<Parts> = {
  form: 'rest',
  size: () => 0,
  write(to, value) {
    to.tail = value
  },
  read: (from) => from.rest(),
}

/**
 * A field that only some peers send. It is absent if the payload ends before it. Only optional fields may follow it; they are
 * absent if it is absent.
 */
export function optionalField<T>(codec: Codec<T>): Codec<T | undefined> {
  return {
    form: `optional ${codec.form}`,
    size: (value) => (value === undefined ? 0 : codec.size(value)),
    write(to, value) {
      if (value !== undefined) codec.write(to, value)
    },
    read: (from) => (from.left === 0 ? undefined : codec.read(from)),
  }
}

/** The number of items, a u16, and the items. */
export function list<T>(item: Codec<T>): Codec<readonly T[]> {
  return {
    form: `list of ${item.form}`,
    size(values) {
      if (values.length > 0xffff) throw new RangeError(`a list of ${values.length} items is over 65535`)
      let total = 2
      for (const value of values) total += item.size(value)
      return total
    },
    write(to, values) {
      u16.write(to, values.length)
      for (const value of values) item.write(to, value)
    },
    read(from) {
      const values: T[] = []
      for (let left = u16.read(from); left > 0; left--) values.push(item.read(from))
      return values
    },
  }
}

/** The fields of a struct, in the order on the wire. */
export type Fields = Readonly<Record<string, Codec<unknown>>>
type OptionalKeys<F> = { [K in keyof F]: undefined extends ValueOf<F[K]> ? K : never }[keyof F]
/** The values of the fields of a struct. An absent field is a missing property. */
export type ValuesOf<F> = { readonly [K in Exclude<keyof F, OptionalKeys<F>>]: ValueOf<F[K]> } & {
  readonly [K in OptionalKeys<F>]?: ValueOf<F[K]>
}

const fieldOf = (values: object, key: string) => (values as Readonly<Record<string, unknown>>)[key]

/** Throws RangeError if an optional field follows an absent one. */
function checkOptional(values: object, optional: readonly string[]): void {
  let absent: string | undefined
  for (const key of optional) {
    const isAbsent = fieldOf(values, key) === undefined
    if (!isAbsent && absent !== undefined) throw new RangeError(`the field ${key} requires the field ${absent}`)
    if (isAbsent) absent ??= key
  }
}

/** Named fields, in the order of the table. */
export function struct<const F extends Fields>(fields: F): Codec<ValuesOf<F>> {
  const entries = Object.entries(fields).map(([key, codec]) => ({ key, codec }))
  const optional = entries.filter(({ codec }) => codec.form.startsWith('optional ')).map(({ key }) => key)
  return {
    form: `{ ${entries.map(({ key, codec }) => `${key} ${codec.form}`).join(', ')} }`,
    size(values) {
      if (optional.length > 1) checkOptional(values, optional)
      let total = 0
      for (const { key, codec } of entries) total += codec.size(fieldOf(values, key))
      return total
    },
    write(to, values) {
      for (const { key, codec } of entries) codec.write(to, fieldOf(values, key))
    },
    read(from) {
      const values: Record<string, unknown> = {}
      for (const { key, codec } of entries) {
        const value = codec.read(from)
        if (value !== undefined) values[key] = value
      }
      return values as ValuesOf<F>
    },
  }
}
