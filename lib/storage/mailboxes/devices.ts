import type { Mailbox } from './mailbox.ts'

/** A known device of a user, and the messages in the mailbox that it has handled. */
export class Device {
  readonly name: string
  /** Milliseconds of the age clock. */
  seenAt: number
  /** The device has handled the messages up to this seq, and those in `beyond`. */
  upTo: number
  readonly beyond: Set<number>
  /** Messages whose answer is not durable yet. `upTo` stays below them. */
  readonly #pending = new Set<number>()

  constructor({ name, seenAt, upTo = 0, beyond = [] }: DeviceState) {
    this.name = name
    this.seenAt = seenAt
    this.upTo = upTo
    this.beyond = new Set(beyond)
  }

  hasHandled(seq: number): boolean {
    return seq <= this.upTo || this.beyond.has(seq)
  }

  /** Keeps `upTo` below these messages until `settle` is called with them, because their answer is not yet durable. */
  hold(seqs: readonly number[]): void {
    for (const seq of seqs) this.#pending.add(seq)
  }

  /** Ends `hold`. Forgets the messages that have left the mailbox, and raises `upTo`. */
  settle(seqs: readonly number[], mailbox: Mailbox | undefined): void {
    for (const seq of seqs) this.#pending.delete(seq)
    const isPending = (seq: number) => this.#pending.has(seq)
    for (const seq of this.beyond) if (!mailbox?.get(seq) && !isPending(seq)) this.beyond.delete(seq)
    const first = Math.min(...this.#pending)
    for (const { seq } of mailbox?.after(this.upTo) ?? []) {
      if (mailbox?.isAside(seq)) continue
      if (seq >= first || !this.beyond.delete(seq)) return
      this.upTo = seq
    }
  }
}

/** The state of a device in a record. */
export interface DeviceState {
  readonly name: string
  readonly seenAt: number
  readonly upTo?: number
  readonly beyond?: Iterable<number>
}

/** The known devices of one user, by name. */
type UserDevices = Map<string, Device>

/** The minimum size of the record of a device, in bytes. */
const deviceBytes = 64

/** The known devices of all users. A user without known devices is absent. */
export class KnownDevices {
  readonly #users = new Map<string, UserDevices>()
  #count = 0

  /** The minimum size in bytes of the records of all devices. */
  get bytes(): number {
    return this.#count * deviceBytes
  }

  users(): Iterable<readonly [user: string, devices: ReadonlyMap<string, Device>]> {
    return this.#users
  }

  of(user: string): ReadonlyMap<string, Device> | undefined {
    return this.#users.get(user)
  }

  /** Adds a device or replaces the one with its name. */
  set(user: string, device: Device): void {
    const devices: UserDevices = this.#users.get(user) ?? new Map()
    this.#users.set(user, devices)
    if (!devices.has(device.name)) this.#count++
    devices.set(device.name, device)
  }

  delete(user: string, name: string): void {
    const devices = this.#users.get(user)
    if (!devices?.delete(name)) return
    this.#count--
    if (devices.size === 0) this.#users.delete(user)
  }
}
