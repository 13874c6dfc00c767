/**
 * Tells the application something: runs `emit`, which calls its listeners. What a listener throws is the application's
 * fault, and is thrown again in a microtask of its own, where it can neither break the work that is being told of nor
 * be lost. Like any emitter's, the listeners behind it are not called then.
 */
export function tell(emit: () => unknown): void {
  try {
    emit()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}
