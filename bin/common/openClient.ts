import { type Client, type ConnectOptions, createClient } from 'ospd'
import { tcp } from 'ospd/node'
import type { Everywhere } from './everywhere.ts'
import type { TokenSource } from './token.ts'
import { userOf } from './userOf.ts'

/** A client for a command; it connects when it is first used. Throws UsageError where its user can't be one. */
export function openClient(
  values: Everywhere,
  token: TokenSource,
  more: Pick<ConnectOptions, 'state' | 'log' | 'uploadsAtOnce' | 'limitRate'> = {},
): Client {
  const { server, insecure, 'retry-for': retryForMs } = values
  return createClient({ to: tcp(server), user: userOf(values), token: token.give, insecure, retryForMs, ...more })
}
