import { OspError } from '../errors.ts'

/** States, and for each the events that may happen there with the state that follows. */
export type Table<S extends string, E extends string> = { readonly [K in S]: { readonly [T in E]?: S } }

/** A state machine that is nothing but its table. */
export interface Machine<S extends string, E extends string> {
  readonly table: Table<S, E>
  /** The state after `event`; throws OspError `internal` where the table has no cell. */
  next(state: S, event: E): S
}

type EventsOf<T> = { [K in keyof T]: keyof T[K] }[keyof T] & string

/** Makes a machine of a table whose cells name only its own states. */
export function machine<const T extends { readonly [K in keyof T]: { readonly [E in string]: keyof T & string } }>(
  table: T,
): Machine<keyof T & string, EventsOf<T>> {
  type S = keyof T & string
  return {
    table: table as unknown as Table<S, EventsOf<T>>,
    next(state, event) {
      const after = (table[state] as Readonly<Record<string, S>>)[event]
      if (after === undefined) throw new OspError('internal', `${event} can't happen in the state ${state}`)
      return after
    },
  }
}
