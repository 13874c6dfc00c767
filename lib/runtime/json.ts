/** Parses JSON from outside. Returns `undefined` if the text is not valid. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
