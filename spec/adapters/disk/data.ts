import { join } from 'node:path'
import { disk } from '../../../lib/adapters/disk/disk.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { Storage } from '../../../lib/ports/storage.ts'
import { temporaryDirectory } from '../../testing/storage/places.ts'

/** Opens a storage in this directory. */
export async function opened(data: string): Promise<Storage> {
  const storage = disk(data)
  await storage.open(nodePlatform())
  return storage
}

/** Runs `proof` with the path of a data directory that does not exist yet. */
export const withData = (proof: (data: string) => Promise<void>) => async (): Promise<void> => {
  await using directory = await temporaryDirectory()
  await proof(join(directory.path, 'data'))
}
