/** An eventemitter3 emitter, as a listener sees it. */
interface Listenable<E extends string> {
  on(event: E, listener: () => void): unknown
  off(event: E, listener: () => void): unknown
}

/** Resolves at the first of these events for which `holds` returns true, or immediately if it already does. */
export function until<E extends string>(emitter: Listenable<E>, event: E, holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (!holds()) return
      emitter.off(event, look)
      resolve()
    }
    emitter.on(event, look)
    look()
  })
}
