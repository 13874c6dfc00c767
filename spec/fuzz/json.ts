import type { Draw } from './draw.ts'
import { mutated } from './mutate.ts'

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

/** Values that often cause errors. */
const borders: readonly Json[] = [
  null,
  true,
  false,
  0,
  -1,
  0.5,
  1e308,
  Number.MAX_SAFE_INTEGER,
  2 ** 53,
  '',
  '0',
  '..',
  '/',
  'a/../b',
  '\0',
  'constructor',
  '\u202e',
  'e\u0301',
  '\ud800',
  'x'.repeat(2_000),
  [],
  {},
  [[]],
  { toString: 1 },
  { length: -1 },
  { constructor: null },
]

const keys = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'length', '', 'a', '0']

/** Returns a value like `value`, with one change somewhere in it. */
export function changedJson(value: unknown, draw: Draw): unknown {
  if (typeof value !== 'object' || value === null || draw.once(8)) {
    return typeof value === 'number' && draw.once(2) ? value + draw.pick([1, -1, 0.5, 2 ** 32]) : draw.pick(borders)
  }
  const entries = Object.entries(value)
  const at = draw.below(entries.length)
  const [key, inner] = entries[at] ?? [draw.pick(keys), 1]
  const changed = draw.pick<() => [string, unknown][]>([
    () => entries.with(at, [key, changedJson(inner, draw)]),
    () => entries.with(at, [key, changedJson(inner, draw)]),
    () => entries.toSpliced(at, 1),
    () => [...entries, [draw.pick(keys), draw.pick(borders)]],
    () => [...entries, [key, inner]],
  ])
  const next = entries.length === 0 ? [[key, inner] as [string, unknown]] : changed()
  return Array.isArray(value) ? next.map(([, item]) => item) : plain(next)
}

/** Returns an object with exactly these keys, including `__proto__`. */
function plain(entries: readonly [string, unknown][]): object {
  const object = {}
  for (const [key, value] of entries) {
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true })
  }
  return object
}

/** Returns JSON of a value like `value`, or invalid JSON, or arbitrary bytes. */
export function jsonLike(value: unknown, draw: Draw): Uint8Array {
  let changed = value
  for (let left = draw.below(4); left > 0; left--) changed = changedJson(changed, draw)
  const bytes = Buffer.from(JSON.stringify(changed) ?? '')
  return draw.once(5) ? mutated(bytes, draw) : bytes
}
