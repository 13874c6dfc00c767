import { checkMetadata, OspError } from 'ospd'
import { repeatable, type Setting } from './settings.ts'
import { UsageError } from './usage.ts'

type Pair = readonly [key: string, value: string]

/** Returns a setting that takes `KEY=VALUE` any number of times. */
export const pairs = (describe: string): Setting<readonly Pair[]> =>
  repeatable('KEY=VALUE', 'KEY=VALUE', pairOf, describe)

/** Splits a text at its first `=`. Returns `undefined` if the key or the `=` is missing. */
function pairOf(text: string): Pair | undefined {
  const at = text.indexOf('=')
  return at > 0 ? [text.slice(0, at), text.slice(at + 1)] : undefined
}

/**
 * Returns the values of a flag by key. Throws UsageError if a key is specified twice, or if the values are too large for
 * `subject`.
 */
export function pairsOf(flag: string, given: readonly Pair[], subject?: string): Readonly<Record<string, string>> {
  const texts = new Map<string, string>()
  for (const [key, value] of given) {
    if (texts.has(key)) throw new UsageError(`${flag} specifies the key ${key} twice; specify it once`)
    texts.set(key, value)
  }
  try {
    const metadata = given.map(([key, value]) => ({ key, value }))
    checkMetadata(metadata, subject)
  } catch (error) {
    throw new UsageError(`${flag} is too large: ${OspError.from(error).message}`)
  }
  return Object.fromEntries(texts)
}
