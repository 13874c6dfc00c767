/** Reports a wrong call of a command. `message` names the wrong argument and what the command takes. Exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** Returns an operand or a path for a message. An empty one is shown as a pair of quotes. */
export const shown = (operand: string): string => (operand === '' ? '""' : operand)

/** Returns the error for an operand that `command` does not take. */
export function unexpectedOperand(command: string, operand: string): UsageError {
  return new UsageError(`${command} takes no operand ${shown(operand)}`)
}

/**
 * Returns a sentence that says that `name` is unknown. Suggests the most similar known name if it was probably meant.
 */
export function unknownName(what: string, name: string, known: readonly string[]): string {
  const meant = nearest(name, known)
  return `unknown ${what} ${shown(name)}${meant === undefined ? '' : `; did you mean ${meant}?`}`
}

/**
 * Returns the known name with the fewest differences, if these are at most a third of its letters. Ignores leading
 * dashes.
 */
function nearest(name: string, known: readonly string[]): string | undefined {
  const typed = bare(name)
  const near = known.flatMap((candidate) => {
    const wanted = bare(candidate)
    const changes = changesBetween(typed, wanted)
    return changes <= Math.floor(Math.max(typed.length, wanted.length) / 3) ? [{ candidate, changes }] : []
  })
  return near.sort((a, b) => a.changes - b.changes)[0]?.candidate
}

const bare = (name: string) => name.replace(/^-+/u, '').toLowerCase()

/**
 * Returns the number of letters to insert, delete, replace or transpose (optimal string alignment distance). A missing
 * end costs little, since flags are often abbreviated.
 */
function changesBetween(from: string, to: string): number {
  if (from.length > 1 && to.startsWith(from)) return (to.length - from.length) / 100
  let before: number[] = []
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const kept = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1)
      const isSwapped = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]
      const swapped = isSwapped ? (before[j - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY
      next.push(Math.min(kept, swapped, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    before = row
    row = next
  }
  return row[to.length] ?? 0
}
