import type { Storage } from '../../lib/ports/storage.ts'

/**
 * A storage of the user's own in one world, whose server is killed and restarted. After a kill, nothing that the
 * storage awaits through the platform of that run happens any more.
 */
export interface MortalPlace {
  /** Returns an unopened storage for the next run of the server. The previous storage is closed, or was killed. */
  storage(): Storage
  /** Returns the bytes of a published file as they were sent; synchronous, and also called while no storage is open. */
  read(user: string, storedName: string): Promise<Uint8Array | undefined>
  /**
   * The server was killed; with `power`, the power of its machine failed, perhaps after the storage was closed. No
   * storage is open any more. Any part of the operations in progress may have happened; after a power failure, data
   * that was not durable may be lost.
   */
  killed(power: boolean): void
}
