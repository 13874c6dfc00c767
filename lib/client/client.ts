import type { EventEmitter } from 'eventemitter3'
import type { OspError } from '../errors.ts'
import type { ClientState } from '../ports/clientState.ts'
import type { Log } from '../ports/log.ts'
import type { Platform } from '../ports/platform.ts'
import type { Transport } from '../ports/socket.ts'
import { deferred } from '../runtime/deferred.ts'
import type { GivenToken } from '../runtime/tokenBinding.ts'
import type { ClientStatus } from './connection/session.ts'
import type { Message, MessageHandler, Receiver, RecipientState, SendOptions } from './messages/message.ts'
import type { Roster } from './messages/roster.ts'
import { RunningClient } from './runningClient.ts'
import type { Uploads } from './uploads/uploads.ts'

/** An option that is `undefined` has its default. */
export interface ConnectOptions {
  readonly to: Transport
  readonly user: string
  /**
   * Returns the token that the server knows this user by. A `BoundToken`, such as `keptToken(directory).load()` resolves
   * with, is sent over no connection that is weaker than the one it is bound to. What it throws is final: the client is
   * `refused` then.
   */
  readonly token?: (() => Promise<GivenToken>) | undefined
  /** Sends the token also to other machines over links that anybody on the way can read. */
  readonly allowPlaintext?: boolean | undefined
  /**
   * How long an unreachable server, or a refusal that can pass, is waited for. By default for ever, except by `connect`,
   * which gives up at the first failure; once it is connected the client waits for ever as well.
   */
  readonly retryForMs?: number | undefined
  /**
   * What outlives the program, for this user at this server: so that a message is not handed over again. By default it
   * lasts as long as the client.
   */
  readonly state?: ClientState | undefined
  /** Uploads at once, where the server allows as many; 5 by default. */
  readonly uploadsAtOnce?: number | undefined
  /** Bytes a second for all uploads together; by default there is no bound. */
  readonly limitRate?: number | undefined
  readonly log?: Log | undefined
  /** Clock, randomness and digests; by default Node's. */
  readonly platform?: Platform | undefined
  /** Closes the client when it aborts. */
  readonly signal?: AbortSignal | undefined
}

export interface ClientEvents {
  /** `why` it is waiting or refused; when it is waiting, the next try is in `retryMs`. */
  status: [status: ClientStatus, why: OspError | undefined, retryMs: number | undefined]
}

/**
 * A user's connection to a server: one link for uploads and one for messages and the online list, each begun when it is
 * first needed. Closing it is its owner's: `close()`, or the signal that it was given.
 */
export interface Client extends EventEmitter<ClientEvents>, AsyncDisposable {
  /** Of the links that have been begun; that of one which waits or connects goes before. */
  readonly status: ClientStatus
  readonly uploads: Uploads
  /** Who is online, once its first list has come. */
  readonly roster: Roster
  /** Resolves when it has been closed. */
  readonly closed: Promise<void>
  /**
   * Resolves when the server has let it in, on every link that was begun; rejects when the server refuses it, or could not be
   * reached in time.
   */
  online(): Promise<void>
  /**
   * Sends a message to 1 to 16 users. Resolves, with one state for each recipient in the order of `to`, when the server has
   * stored it for all of them: it is not lost any more then. Messages go out in the order of the calls, and again where a
   * link was lost. Rejects with OspError `usage`, `bad-name`, `too-large` (over 64 KiB), `too-many-recipients`,
   * `rate-limited` (too much waits already), or with what the server refuses it with, which can name `recipients`: nothing
   * was stored for anybody then. Where the outcome is unknown (`timed-out`, or `closed` for what was given up) the error
   * says so.
   */
  send(to: readonly string[], content: string | Uint8Array, options?: SendOptions): Promise<readonly RecipientState[]>
  /**
   * Hands every message to `handler`, one at a time in the order of the mailbox, and acknowledges it when that has
   * returned. Where it throws, the same message is handed over again, before anything later, up to 16 times; then the server
   * puts the message aside. A message is handed over once for each `state`, unless the program ends within the handler.
   * Throws OspError `usage` while there is another receiver, and why there can't be one any more.
   */
  receive(handler: MessageHandler): Receiver
  /**
   * The messages, one after another: `next()` acknowledges the one before; leaving the loop does not. The iterator ends
   * when the client is closed, and rejects as `Receiver.finished` does. Throws as `receive`.
   */
  messages(): AsyncIterableIterator<Message>
  /**
   * Ends the links; what is unfinished can be continued by another client of the user. A handler that is under way is
   * waited for, for a moment; messages that wait to be sent are rejected with `closed`. Idempotent.
   */
  close(): Promise<void>
}

/** What a platform's door has filled in. */
export type BoundOptions = Omit<ConnectOptions, 'platform'> & { readonly platform: Platform; readonly software: string }

/**
 * A client, at once; it connects when it is first used. Throws OspError `usage` for an option that can't be, and
 * `bad-name` for a user that can't be one.
 */
export function createClient(options: BoundOptions): Client {
  return new RunningClient(options)
}

/**
 * A client that the server has let in. Rejects as `Client.online` does, and, unless `retryForMs` is given, at the first
 * failure; nothing is left open then.
 */
export async function connect(options: BoundOptions): Promise<Client> {
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
  const look = (status: ClientStatus, why?: OspError) => {
    if (status === 'waiting') failed.reject(why)
  }
  client.on('status', look)
  try {
    await Promise.race([client.online(), failed.promise])
  } finally {
    client.off('status', look)
  }
}
