/** A value, or a promise of it if it is not known yet. A promise for each of many values would cost more than most values do. */
export type Soon<T> = T | Promise<T>

/** Calls `next` with a value when it is known, which is now if it is no promise. */
export function soon<T, R>(value: Soon<T>, next: (value: T) => Soon<R>): Soon<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}

/** Runs `work` for all items at the same time. Returns the result or the error of each. */
export function settled<T, R>(
  items: readonly T[],
  work: (item: T, index: number) => Soon<R>,
): Soon<readonly (R | Error)[]> {
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
export function onlyOf<R>([result]: readonly (R | Error)[]): R {
  if (result instanceof Error) throw result
  return result as R
}
