import type { Storage } from '../ports/storage.ts'

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
   * The server was killed, or its machine: nobody has the storage open any more. `power`: it has failed, and what was not
   * durable may be gone. Of what was under way any part may have taken place.
   */
  killed(power: boolean): void
}
