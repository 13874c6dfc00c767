/** The command was called wrongly; `message` says with what, and what it takes. Exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}
