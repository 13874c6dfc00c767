/**
 * An object with events. `E`: the arguments of the listeners of each event. An error that a listener throws is logged, and the next
 * listener is called.
 */
export interface Listenable<E extends { [K in keyof E]: unknown[] }> {
  /** Calls `listener` for each event. */
  on<K extends keyof E>(event: K, listener: (...details: E[K]) => void): this
  /** Calls `listener` for the next event only. */
  once<K extends keyof E>(event: K, listener: (...details: E[K]) => void): this
  /** Removes a listener that `on` or `once` has added. */
  off<K extends keyof E>(event: K, listener: (...details: E[K]) => void): this
}
