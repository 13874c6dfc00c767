/** A promise with its two ends. An unheard rejection is silent. */
export interface Deferred<T> {
  readonly promise: Promise<T>
  resolve(value: T): void
  reject(why: unknown): void
}

export function deferred<T>(): Deferred<T> {
  let resolve: Deferred<T>['resolve'] = () => {}
  let reject: Deferred<T>['reject'] = () => {}
  const promise = new Promise<T>((...ends) => {
    ;[resolve, reject] = ends
  })
  promise.catch(() => {})
  return { promise, resolve, reject }
}
