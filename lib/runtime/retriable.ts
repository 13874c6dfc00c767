/** Returns a function that calls `work` once and keeps its promise. After a rejection, the next call calls `work` again. */
export function retriable<T>(work: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined
  const failed = (error: unknown) => {
    running = undefined
    throw error
  }
  return () => {
    running ??= work().catch(failed)
    return running
  }
}
