/** Interrupts one run of an upload. Its AbortSignal is created only if it is used, since most small files need none. */
export class Interruption {
  isInterrupted = false
  /** Called when the run is interrupted. */
  onInterrupt: (() => void) | undefined
  #controller: AbortController | undefined

  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.isInterrupted) this.#controller.abort()
    return this.#controller.signal
  }

  interrupt(): void {
    this.isInterrupted = true
    this.#controller?.abort()
    this.onInterrupt?.()
  }
}
