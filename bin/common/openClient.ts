import { type Client, type ConnectOptions, createClient, type Transport } from 'ospd'
import type { Everywhere } from './everywhere.ts'
import type { TokenSource } from './token.ts'
import { tokenWay } from './tokenWay.ts'
import { transportOf, trustOf } from './transport.ts'
import { userOf } from './userOf.ts'

/**
 * A client for a command; it connects when it is first used. Throws UsageError where its user can't be one, or its way to the
 * server.
 */
export function openClient(
  values: Everywhere,
  token: TokenSource,
  more: Pick<ConnectOptions, 'state' | 'log' | 'uploadsAtOnce' | 'limitRate'> = {},
  to: Transport = transportOf(values, trustOf(values, token)),
): Client {
  const { insecure, 'retry-for': retryForMs } = values
  return createClient({
    to: tokenWay(to, token),
    user: userOf(values),
    token: token.give,
    allowPlaintext: insecure,
    retryForMs,
    ...more,
  })
}
