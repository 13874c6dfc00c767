/** That `name` is unknown, and the known name that was probably meant. */
export function unknownName(what: string, name: string, known: readonly string[]): string {
  const meant = nearest(name, known)
  return `unknown ${what} ${name}${meant === undefined ? '' : `; did you mean ${meant}?`}`
}

/** The name that takes the fewest changes to come to. */
function nearest(name: string, known: readonly string[]): string | undefined {
  const ranked = known.map((candidate) => ({ candidate, changes: changesBetween(name, candidate) }))
  return ranked.sort((a, b) => a.changes - b.changes)[0]?.candidate
}

/** Letters to add, remove or replace (Levenshtein); an added end costs little, since flags are often shortened. */
function changesBetween(from: string, to: string): number {
  if (to.startsWith(from)) return (to.length - from.length) / 100
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const kept = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1)
      next.push(Math.min(kept, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[to.length] ?? 0
}
