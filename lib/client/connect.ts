import type { OspError } from '../errors.ts'
import { deferred } from '../runtime/deferred.ts'
import type { BoundClientOptions, Client } from './client.ts'
import type { ClientStatus } from './connection/session.ts'
import { RunningClient } from './runningClient.ts'

/** Creates a client. It connects when it is first used. Throws OspError `bad-name` for an invalid user. */
export function createClient(options: BoundClientOptions): Client {
  return new RunningClient(options)
}

/**
 * Resolves with a client that the server has accepted. Rejects as `Client.online` does, and, unless `retryForMs` is given, at the
 * first failure; nothing is left open then.
 */
export async function connect(options: BoundClientOptions): Promise<Client> {
  const client = createClient(options)
  try {
    await (options.retryForMs === undefined ? firstTry(client) : client.online())
    return client
  } catch (error) {
    await client.close()
    throw error
  }
}

/** Resolves when the client is online; rejects when its first try has failed. */
async function firstTry(client: Client): Promise<void> {
  const failed = deferred<never>()
  const look = (status: ClientStatus, error?: OspError) => {
    if (status === 'waiting') failed.reject(error)
  }
  client.on('status', look)
  try {
    await Promise.race([client.online(), failed.promise])
  } finally {
    client.off('status', look)
  }
}
