import { OspError } from '../errors.ts'

/** A state machine, defined by its table: for each state, the events that can occur in it and the state that follows. */
export interface Machine<S extends string, E extends string> {
  readonly table: { readonly [K in S]: { readonly [T in E]?: S } }
  /** Returns the state after `event`. Throws OspError `internal` if the event cannot occur in `state`. */
  next(state: S, event: E): S
}

type EventsOf<T> = { [K in keyof T]: keyof T[K] }[keyof T] & string

/** Creates a state machine. The cells of its table contain only its own states. */
export function machine<const T extends { readonly [K in keyof T]: { readonly [E in string]: keyof T & string } }>(
  table: T,
): Machine<keyof T & string, EventsOf<T>> {
  type S = keyof T & string
  return {
    table: table as unknown as Machine<S, EventsOf<T>>['table'],
    next(state, event) {
      const after = (table[state] as Readonly<Record<string, S>>)[event]
      if (after === undefined) throw new OspError('internal', `${event} cannot occur in the state ${state}`)
      return after
    },
  }
}
