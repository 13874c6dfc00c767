import fc from 'fast-check'
import type { EventName, WireMessage } from '../../lib/wire/message.ts'
import { events } from '../../lib/wire/protocol.ts'
import { beforeAbsent, fieldsIn } from '../support/forms.ts'

const u8 = fc.nat(0xff)
const u16 = fc.nat(0xffff)
const u32 = fc.nat(0xffff_ffff)
const bytes = fc.uint8Array({ maxLength: 300 })

const primitives: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  u8,
  u16,
  u32,
  u64: fc.maxSafeNat(),
  str: fc.string({ unit: 'binary' }),
  bytes,
  '16 raw': fc.uint8Array({ minLength: 16, maxLength: 16 }),
  rest: fc.array(bytes, { maxLength: 4 }),
}

/** Any value of a codec of this form (`Codec.form`). */
function anyOf(form: string): fc.Arbitrary<unknown> {
  if (form.startsWith('list of ')) return fc.array(anyOf(form.slice(8)))
  if (form.startsWith('optional ')) return fc.option(anyOf(form.slice(9)), { nil: undefined })
  if (form.startsWith('{')) {
    return recordOf(Object.fromEntries(fieldsIn(form.slice(2, -2)).map(keyAndValue)))
  }
  const primitive = primitives[form]
  if (!primitive) throw new Error(`no values are known for the form ${form}`)
  return primitive
}

function keyAndValue(field: string): [string, fc.Arbitrary<unknown>] {
  const [key = '', ...form] = field.split(' ')
  return [key, anyOf(form.join(' '))]
}

/** Records as plain as those that are decoded. */
function recordOf(fields: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<unknown> {
  return fc.record(fields, { noNullPrototype: true })
}

/** Every event's name. */
export const eventNames = Object.keys(events) as EventName[]

/** Any message of one event. */
export function messageOf(event: EventName): fc.Arbitrary<WireMessage> {
  const fields = Object.entries(events[event].fields).map(([key, codec]) => [key, anyOf(codec.form)])
  const message = recordOf({ event: fc.constant(event), ...Object.fromEntries(fields) })
  return message.map(beforeAbsent) as fc.Arbitrary<WireMessage>
}

/** Any message at all. */
export const anyMessage = fc.constantFrom(...eventNames).chain(messageOf)

/** Any header and payload that a frame can have. */
export const anyFrame = fc.record({
  version: u8,
  flags: u8,
  event: u16,
  seq: u32,
  app: u16,
  instance: u16,
  payload: fc.array(bytes, { maxLength: 3 }),
})
