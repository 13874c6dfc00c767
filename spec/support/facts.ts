import type { EventEmitter } from 'eventemitter3'

/** Resolves at the first of these events for which `holds` is true, also if it holds already. */
export function until<E extends string>(emitter: EventEmitter<E>, event: E, holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (!holds()) return
      emitter.off(event, look as never)
      resolve()
    }
    emitter.on(event, look as never)
    look()
  })
}
