/**
 * Executes a request of another program. Answers go to `reply`, at once; a rejection is the last answer. `signal` aborts when
 * the other program has ended or serving stops: the request must then end.
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

/** Connects the programs of a user to the one that has a shared resource open. */
export interface Control {
  /** Serves requests as the only program. Rejects with OspError `data-locked` if another program serves. */
  serve(answering: Answering): Promise<Served>
  /**
   * Sends a request to the serving program; each answer goes to `onAnswer`. Resolves with the last one. Rejects with
   * OspError `unreachable` if no program serves, `link-lost` if it ends, `closed` if `signal` aborts, and with the error
   * that it answers.
   */
  ask(request: object, onAnswer?: (answer: unknown) => void, signal?: AbortSignal): Promise<unknown>
}
