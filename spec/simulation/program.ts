import type { Client } from '../../lib/client/client.ts'
import type { SimulatedProcess } from './process.ts'
import type { Running } from './queues.ts'

/** A user's program. It starts, is killed, and starts again. */
export interface Program {
  readonly name: string
  readonly running: boolean
  start(): void
  kill(): void
  freeze(ms: number): void
  /** Closes its client and ends, if it runs. */
  end(): void
  /** Drops its remaining work at the end of the world. */
  letGo(): void
}

/** A client that connects once, and disconnects. */
export interface Visitor {
  readonly process: SimulatedProcess
  readonly client: Pick<Client, 'close'>
  /** Its client, if that has queues. */
  readonly running?: Running | undefined
  /** Whether it ignores the limits of the protocol. */
  readonly unruly?: boolean
  readonly gone: boolean
}
