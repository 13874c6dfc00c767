/** Runs `work` for all items at the same time. Resolves with the result or the error of each. */
export function settled<T, R>(
  items: readonly T[],
  work: (item: T, index: number) => Promise<R>,
): Promise<readonly (R | Error)[]> {
  return Promise.all(
    items.map(async (item, index) => {
      try {
        return await work(item, index)
      } catch (error) {
        return error instanceof Error ? error : new Error(String(error))
      }
    }),
  )
}

/** Returns the result for the only item, or throws its error. */
export function onlyOf<R>([result]: readonly (R | Error)[]): R {
  if (result instanceof Error) throw result
  return result as R
}
