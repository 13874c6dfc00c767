/** Splits the fields in the form of a struct (`Codec.form`, without its braces), which can be structs themselves. */
export function fieldsIn(text: string): readonly string[] {
  const fields: string[] = []
  let depth = 0
  let from = 0
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '{') depth++
    else if (text[at] === '}') depth--
    else if (depth === 0 && text.startsWith(', ', at)) {
      fields.push(text.slice(from, at))
      from = at + 2
    }
  }
  return [...fields, text.slice(from)]
}

/** Returns the properties before the first without a value. An absent field, after which there are no others, is a missing property. */
export function beforeAbsent(values: unknown): object {
  const entries = Object.entries(values as object)
  const absent = entries.findIndex(([, value]) => value === undefined)
  return Object.fromEntries(absent < 0 ? entries : entries.slice(0, absent))
}
