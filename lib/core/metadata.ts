import { OspError } from '../errors.ts'
import { fixed } from '../limits.ts'

/** A text of the metadata of a file. */
export interface MetadataText {
  readonly key: string
  readonly value: string
}

/** Returns metadata in the form that it has on the wire. */
export const textsOf = (metadata: Readonly<Record<string, string>>): readonly MetadataText[] =>
  Object.entries(metadata).map(([key, value]) => ({ key, value }))

const encoder = new TextEncoder()

/**
 * Throws OspError `too-large` if metadata exceeds its limits, and `malformed` if a key is empty or occurs twice, or if a text
 * contains U+0000, which databases cannot store. The errors name `owner` and `noun`.
 */
export function checkMetadata(texts: readonly MetadataText[], owner = 'a file', noun = 'metadata'): void {
  const { metadataTexts, metadataBytes } = fixed
  if (texts.length > metadataTexts)
    throw new OspError('too-large', `${owner} has at most ${metadataTexts} keys of ${noun}, not ${texts.length}`)
  const bytes = texts.reduce((sum, { key, value }) => sum + encoder.encode(key + value).length, 0)
  if (bytes > metadataBytes)
    throw new OspError('too-large', `${owner} has at most ${metadataBytes} bytes of ${noun}, not ${bytes}`)
  if (texts.some(({ key }) => key === '')) throw new OspError('malformed', `a key of the ${noun} is empty`)
  if (texts.some(({ key, value }) => `${key}${value}`.includes('\0')))
    throw new OspError('malformed', `the ${noun} contains the character U+0000`)
  const keys = new Set(texts.map(({ key }) => key))
  if (keys.size < texts.length) throw new OspError('malformed', `a key of the ${noun} occurs twice`)
}
