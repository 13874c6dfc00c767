import type { Storage } from '../../lib/ports/storage.ts'

/**
 * Where storages of one's own keep things in one world, whose server is killed and started again. Whatever a storage waits
 * for by the platform that it was opened with does not come any more once its server is killed.
 */
export interface MortalPlace {
  /** A storage of this place for the next run of the server, not opened yet. The former one is closed, or was killed. */
  storage(): Storage
  /** The bytes of a published file, as they were sent; at once, and also while no storage is open. */
  read(user: string, storedName: string): Promise<Uint8Array | undefined>
  /**
   * The server was killed, or with `power` its whole machine, perhaps after it had closed its storage: nobody has that open
   * any more. Of what was under way any part may have taken place, and at a power cut what was not durable may be gone.
   */
  killed(power: boolean): void
}
