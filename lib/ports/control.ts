/**
 * Carries out a request of another program. Its answers go to `reply`, at once; what it rejects with is the last one.
 * `signal` aborts when the other program is gone, or nothing is served any more: then it has to end.
 */
export type Answering = (
  request: unknown,
  reply: (answer: unknown) => void,
  signal: AbortSignal,
) => Promise<void> | void

/** Serves requests until it is closed. */
export interface Served extends AsyncDisposable {
  /** Resolves when every request has ended. Idempotent. */
  close(): Promise<void>
}

/** By which the programs of a user that share something reach the one that has it open. */
export interface Control {
  /** Rejects with OspError `data-locked` if another program serves. Whoever serves has it for itself. */
  serve(answering: Answering): Promise<Served>
  /**
   * Hands a request to the program that serves; each answer goes to `onAnswer`. Resolves with the last one. Rejects with
   * OspError `unreachable` where nobody serves, `link-lost` where it goes away, `closed` if `signal` aborts, and with the
   * error that it answers.
   */
  ask(request: object, onAnswer?: (answer: unknown) => void, signal?: AbortSignal): Promise<unknown>
}
