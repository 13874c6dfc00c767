/** The command was called wrongly; `message` says with what, and what it takes. Exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** Returns an operand or a path as a sentence shows it: an empty one in quotes. */
export const shown = (operand: string): string => (operand === '' ? '""' : operand)

/** Returns the error of an operand that `command` does not take. */
export function surplus(command: string, operand: string): UsageError {
  return new UsageError(`${command} takes no operand such as ${shown(operand)}`)
}
