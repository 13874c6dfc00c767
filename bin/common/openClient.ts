import { type Client, type ConnectOptions, createClient } from 'ospd'
import { tcp } from 'ospd/node'
import type { Everywhere } from './everywhere.ts'
import { userOf } from './userOf.ts'

/** A client for a command; it connects when it is first used. Throws UsageError where its user can't be one. */
export function openClient(values: Everywhere, more: Omit<ConnectOptions, 'to' | 'user' | 'retryForMs'> = {}): Client {
  const { server, 'retry-for': retryForMs } = values
  return createClient({ to: tcp(server), user: userOf(values), retryForMs, ...more })
}
