import type { Steps } from '../../../lib/adapters/cluster/steps.ts'
import type { Machine, SimulatedProcess } from '../process.ts'
import type { Trace } from '../trace.ts'

/** The lease of a server. */
const leaseMs = 10_000
/** The minimum time for which a server renews its lease before it declares others dead. It measures 15 s by its own clock. */
const settledMs = 10_000

/** The parts of a world that the invariants of leases use. */
interface LeaseParts {
  readonly trace: Trace
  readonly machine: Machine
}

/**
 * Checks that a server declares no others dead just after an outage of the store, in which all leases expire. The server must first
 * have renewed its own lease for a while.
 */
export class LeaseWatch {
  readonly #parts: LeaseParts

  constructor(parts: LeaseParts) {
    this.#parts = parts
  }

  /** Returns the steps of a server. */
  watched(process: SimulatedProcess, steps: Steps): Steps {
    const { time } = this.#parts.machine
    /** The start of the time in which it has renewed its lease without a gap, and the time of the latest renewal. */
    let [sinceMs, renewedMs] = [0, Number.NEGATIVE_INFINITY]
    const renewed = () => {
      if (time.now() - renewedMs > leaseMs) sinceMs = time.now()
      renewedMs = time.now()
    }
    return {
      ...steps,
      enter: async (...given) => {
        const server = await steps.enter(...given)
        renewedMs = Number.NEGATIVE_INFINITY
        renewed()
        return server
      },
      renew: async (...given) => {
        const isLiving = await steps.renew(...given)
        if (isLiving) renewed()
        return isLiving
      },
      declareDead: async (by) => {
        const dead = await steps.declareDead(by)
        if (dead.length > 0 && time.now() - sinceMs < settledMs)
          this.#parts.trace.fail(
            `${process.name} declares servers dead just after it has reached the store again: ${dead}`,
          )
        return dead
      },
    }
  }
}
