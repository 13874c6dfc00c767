import { KiB } from '../../lib/limits.ts'
import { type EventName, encode, type WireMessage } from '../../lib/wire/message.ts'
import { events } from '../../lib/wire/protocol.ts'
import { beforeAbsent, fieldsIn } from '../support/forms.ts'
import { patterned } from '../support/memorySource.ts'
import type { Draw } from './draw.ts'

export const eventNames = Object.keys(events) as EventName[]

const names = [
  '',
  'a',
  'a/b',
  '../a',
  'b',
  'bob',
  'alice',
  'CON',
  'e\u0301',
  'a:b',
  '\u202ea',
  'x'.repeat(1_100),
  'a\0',
]
const lengths = [0, 1, 3, 16, 32, 33, 64, 300, 4_096, 64 * KiB + 1]
const whole = [0, 1, 2, 3, 255, 500, 1_000]

/** Boundary values of each form on the wire (`Codec.form`). */
const values: Readonly<Record<string, (draw: Draw) => unknown>> = {
  u8: (draw) => draw.pick([0, 1, 2, 3, 255]),
  u16: (draw) => draw.pick([...whole, 0xffff]),
  u32: (draw) => draw.pick([...whole, 0xffff_ffff]),
  u64: (draw) => draw.pick([...whole, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER]),
  str: (draw) => draw.pick(names),
  bytes: (draw) => patterned(draw.pick(lengths), draw.from(1, 9)),
  '16 raw': (draw) => patterned(16, draw.from(1, 4)),
  rest: (draw) => draw.some(0, 2, () => patterned(draw.pick(lengths), draw.from(1, 9))),
}

/** Returns a boundary value of a codec of this form. */
function borderOf(form: string, draw: Draw): unknown {
  if (form.startsWith('list of ')) return draw.some(0, draw.pick([1, 3, 17]), () => borderOf(form.slice(8), draw))
  if (form.startsWith('optional ')) return draw.once(2) ? undefined : borderOf(form.slice(9), draw)
  if (!form.startsWith('{')) return values[form]?.(draw)
  const fields = fieldsIn(form.slice(2, -2))
  return Object.fromEntries(
    fields.map((field) => {
      const [key = '', ...inner] = field.split(' ')
      return [key, borderOf(inner.join(' '), draw)]
    }),
  )
}

/** Returns a message of this event with boundary values in all fields. */
export function borderMessage(event: EventName, draw: Draw): WireMessage {
  const fields = Object.entries(events[event].fields).map(([key, { form }]) => [key, borderOf(form, draw)])
  return { event, ...beforeAbsent(Object.fromEntries(fields)) } as WireMessage
}

/** Returns `message` with a boundary value in one field; a number can also be one more or less. */
export function withBorder(message: WireMessage, draw: Draw): WireMessage {
  const fields = Object.entries(events[message.event].fields)
  if (fields.length === 0) return message
  const [key, { form }] = draw.pick(fields)
  const former = (message as unknown as Record<string, unknown>)[key]
  const near = typeof former === 'number' && draw.once(3) ? former + draw.pick([1, -1]) : borderOf(form, draw)
  const changed = { ...message, [key]: near } as WireMessage
  return isWritable(changed) ? changed : message
}

function isWritable(message: WireMessage): boolean {
  try {
    encode(message)
    return true
  } catch (error) {
    if (error instanceof RangeError) return false
    throw error
  }
}
