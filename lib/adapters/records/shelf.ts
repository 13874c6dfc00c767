/** Puts `value` under `key`, or removes the key if there is no value. */
export interface Change {
  readonly key: string
  readonly value?: string
}

/** Keys from `from` on (by the bytes of their UTF-8) and before `below`, at most `limit`. */
export interface KeyRange {
  readonly from: string
  readonly below: string
  readonly limit?: number
}

/** An ordered store of small texts: what transfer records and notes are kept in. */
export interface Shelf {
  get(key: string): Promise<string | undefined>
  /** All of them or none, durable. Rejects with `disk-full` or `internal`. */
  write(changes: readonly Change[]): Promise<void>
  /** By rising key, as they stood when the reading began. */
  entries(range: KeyRange): AsyncIterable<readonly [key: string, value: string]>
}
