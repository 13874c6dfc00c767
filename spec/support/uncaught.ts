/** Collects uncaught errors, which do not end the process, until it is disposed. */
export interface Uncaught extends Disposable {
  readonly errors: readonly unknown[]
}

export function uncaught(): Uncaught {
  const errors: unknown[] = []
  const others = process.listeners('uncaughtException')
  const gather = (error: unknown) => void errors.push(error)
  process.removeAllListeners('uncaughtException').on('uncaughtException', gather)
  return {
    errors,
    [Symbol.dispose]() {
      process.off('uncaughtException', gather)
      for (const listener of others) process.on('uncaughtException', listener)
    },
  }
}
