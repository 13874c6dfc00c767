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
      if (result instanceof Promise) waiting.push(settle(results, index, result))
      else results[index] = result
    } catch (error) {
      results[index] = errorOf(error)
    }
  })
  return waiting.length > 0 ? Promise.all(waiting).then(() => results) : results
}

async function settle<R>(results: (R | Error)[], index: number, result: Promise<R>): Promise<void> {
  try {
    results[index] = await result
  } catch (error) {
    results[index] = errorOf(error)
  }
}

const errorOf = (error: unknown) => (error instanceof Error ? error : new Error(String(error)))

/** Returns the result for the only item, or throws its error. */
export function single<R>([result]: readonly (R | Error)[]): R {
  if (result instanceof Error) throw result
  return result as R
}
