import type { Metadata } from '../ports/catalogue.ts'

/** Returns whether both have the same texts. */
export function isSameMetadata(one: Metadata = {}, other: Metadata = {}): boolean {
  const keys = Object.keys(one)
  return keys.length === Object.keys(other).length && keys.every((key) => one[key] === other[key])
}
