/** A value, or a promise of it. Avoids a promise for each value where most values are known already. */
export type MaybePromise<T> = T | Promise<T>

/** Calls `next` with the value: immediately if it is not a promise. */
export function chain<T, R>(value: MaybePromise<T>, next: (value: T) => MaybePromise<R>): MaybePromise<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}

/** Runs `work` for all items at the same time. Returns the result or the error of each. */
export function settleAll<T, R>(
  items: readonly T[],
  work: (item: T, index: number) => MaybePromise<R>,
): MaybePromise<readonly (R | Error)[]> {
  const results: (R | Error)[] = []
  const waiting: Promise<void>[] = []
  items.forEach((item, index) => {
    try {
      const result = work(item, index)
      if (!(result instanceof Promise)) {
        results[index] = result
        return
      }
      const put = (value: R | Error) => {
        results[index] = value
      }
      waiting.push(result.then(put, (error) => put(errorOf(error))))
    } catch (error) {
      results[index] = errorOf(error)
    }
  })
  return waiting.length > 0 ? Promise.all(waiting).then(() => results) : results
}

const errorOf = (error: unknown) => (error instanceof Error ? error : new Error(String(error)))

/** Returns the result for the only item, or throws its error. */
export function single<R>([result]: readonly (R | Error)[]): R {
  if (result instanceof Error) throw result
  return result as R
}
