import { EventEmitter } from 'eventemitter3'
import type { Log } from '../ports/log.ts'

type Listener = (...args: never[]) => unknown

type NameOf<E extends EventEmitter.ValidEventTypes> = EventEmitter.EventNames<E>
type ListenerOf<E extends EventEmitter.ValidEventTypes, T extends NameOf<E>> = EventEmitter.EventListener<E, T>

const wrappers = new WeakSet<Listener>()

/** An emitter that logs a listener's error as `listener-failed`, or prints it without a log, and calls the next one. */
export class Emitter<E extends EventEmitter.ValidEventTypes> extends EventEmitter<E> {
  readonly #log: Log | undefined
  /** The wrappers of the listeners, by event, from the first listener on. */
  #guards: Map<unknown, WeakMap<Listener, Listener>> | undefined

  constructor(log?: Log) {
    super()
    this.#log = log
  }

  override on<T extends NameOf<E>>(event: T, listener: ListenerOf<E, T>, context?: unknown): this {
    return super.on(event, this.#guard(event, listener), context)
  }

  override once<T extends NameOf<E>>(event: T, listener: ListenerOf<E, T>, context?: unknown): this {
    return super.once(event, this.#guard(event, listener), context)
  }

  override off<T extends NameOf<E>>(event: T, listener?: ListenerOf<E, T>, context?: unknown, once?: boolean): this {
    return super.off(event, listener && this.#guard(event, listener), context, once)
  }

  static {
    // EventEmitter has its own methods under these names too.
    Emitter.prototype.addListener = Emitter.prototype.on
    Emitter.prototype.removeListener = Emitter.prototype.off
  }

  /** Returns the same wrapper for each listener of an event, so that it can be removed. */
  #guard<L extends Listener>(event: unknown, listener: L): L {
    // EventEmitter removes a listener of `once` by its wrapper.
    if (wrappers.has(listener)) return listener
    this.#guards ??= new Map()
    const guards = this.#guards.get(event) ?? new WeakMap<Listener, Listener>()
    this.#guards.set(event, guards)
    const known = guards.get(listener)
    if (known) return known as L
    const failed = (error: unknown) => this.#failed(String(event), error)
    const guard = function (this: unknown, ...args: never[]) {
      try {
        catchRejection(listener.apply(this, args), failed)
      } catch (error) {
        failed(error)
      }
    }
    guards.set(listener, guard)
    wrappers.add(guard)
    return guard as unknown as L
  }

  #failed(of: string, error: unknown): void {
    const { message: text, stack } = error instanceof Error ? error : new Error(String(error))
    const entry = { level: 'error', event: 'listener-failed', of, text, ...(stack !== undefined && { stack }) } as const
    if (this.#log) safeLog(this.#log)(entry)
    else console.error(`a listener of the event '${of}' failed:`, error)
  }
}

/** Wraps a log. If it throws, only its line is lost, and the error is printed to the console. */
export function safeLog(log?: Log): Log {
  const failed = (error: unknown) => console.error('the log failed:', error)
  return (entry) => {
    try {
      catchRejection(log?.(entry), failed)
    } catch (error) {
      failed(error)
    }
  }
}

/** If an application callback returned a promise, calls `failed` when it rejects. */
function catchRejection(result: unknown, failed: (error: unknown) => void): void {
  if (result === undefined || result === null) return
  const { then } = result as Partial<PromiseLike<unknown>>
  if (typeof then === 'function') then.call(result as PromiseLike<unknown>, undefined, failed)
}
