import { type ErrorCode, OspError } from '../errors.ts'
import { fixed } from '../limits.ts'
import type { Machine } from './machine.ts'

/** The holder of an instance: the node of a link, and the session of the client, which outlives the link. */
export interface Holder {
  readonly node: number
  readonly session: string
}

/** A numbered worker of an app. Only its pool changes it. */
export type Instance<S extends string> = Readonly<Omit<Slot<S>, 'former'>>

interface Slot<S extends string> {
  readonly number: number
  state: S
  holder: Holder | undefined
  /** Former holders, the latest last, each with the error for its next request. */
  readonly former: { readonly session: string; readonly reason: ErrorCode | OspError }[]
}

/** The ordinary instances of one app, numbered from 1. Number 0 is the daemon of the app and is never assigned. */
export class Pool<S extends string, E extends string> {
  readonly #machine: Machine<S, E>
  readonly #idleState: S
  readonly #slots: readonly Slot<S>[]
  /** The idle instances, the one that has been idle longest first. */
  readonly #idle: Slot<S>[]

  constructor(machine: Machine<S, E>, idle: S, size: number) {
    this.#machine = machine
    this.#idleState = idle
    const slot = (number: number): Slot<S> => ({ number, state: idle, holder: undefined, former: [] })
    this.#slots = Array.from({ length: size }, (_, at) => slot(at + 1))
    this.#idle = [...this.#slots]
  }

  get size(): number {
    return this.#slots.length
  }

  get busy(): number {
    return this.#slots.length - this.#idle.length
  }

  /** Assigns the instance that has been idle longest and is `fit` to `holder`. Returns `undefined` if there is none. */
  assign(holder: Holder, event: E, fit: (number: number) => boolean = () => true): Instance<S> | undefined {
    const at = this.#idle.findIndex(({ number }) => fit(number))
    const slot = this.#idle[at]
    if (!slot) return undefined
    this.#step(slot, event, 'busy')
    slot.holder = holder
    this.#idle.splice(at, 1)
    return slot
  }

  /** Makes an instance idle; `reason` is the error for later requests of its holder. */
  release(instance: Instance<S>, event: E, reason: ErrorCode | OspError = 'instance-lost'): void {
    const slot = instance as Slot<S>
    this.#step(slot, event, 'idle')
    this.#dismiss(slot, reason)
    this.#idle.push(slot)
  }

  /** Moves a busy instance to another holder; `reason` is the error for later requests of the former holder. */
  move(instance: Instance<S>, event: E, to: Holder, reason: ErrorCode): void {
    const slot = instance as Slot<S>
    this.#step(slot, event, 'busy')
    this.#dismiss(slot, reason)
    slot.holder = to
  }

  /** Returns the instance of this number if `by` holds it; otherwise throws its `denial`. */
  held(number: number, by: Holder): Instance<S> {
    const slot = this.#slots[number - 1]
    if (slot?.holder?.node === by.node) return slot
    throw this.denial(number, by)
  }

  /** Returns the holder of the instance of this number, if any. */
  holderOf(number: number): Holder | undefined {
    return this.#slots[number - 1]?.holder
  }

  /** Returns the error for an instance that `by` does not hold: the reason why its session lost it, or `instance-lost`. */
  denial(number: number, by: Holder): OspError {
    const former = this.#slots[number - 1]?.former.findLast(({ session }) => session === by.session)
    const reason = former?.reason ?? 'instance-lost'
    return typeof reason === 'string' ? new OspError(reason) : reason.with({})
  }

  /** Throws if the event does not lead to the expected state: the instance would be idle and held at the same time. */
  #step(slot: Slot<S>, event: E, to: 'idle' | 'busy'): void {
    const after = this.#machine.next(slot.state, event)
    if ((after === this.#idleState) !== (to === 'idle')) {
      throw new OspError('internal', `${event} does not make an instance ${to}`)
    }
    slot.state = after
  }

  #dismiss(slot: Slot<S>, reason: ErrorCode | OspError): void {
    if (slot.holder) slot.former.push({ session: slot.holder.session, reason })
    if (slot.former.length > fixed.instanceHolders) slot.former.shift()
    slot.holder = undefined
  }
}
