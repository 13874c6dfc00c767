import assert from 'node:assert/strict'
import type { Client } from '../../lib/client/client.ts'
import { hex } from '../../lib/runtime/hex.ts'
import { decodeBody } from '../../lib/wire/messageBody.ts'
import type { MemoryOutbox } from './memoryOutbox.ts'
import type { Asked, ScriptedLink, ScriptedServer } from './scriptedServer.ts'
import { turn } from './turn.ts'

/** The texts of the messages of requests. */
export const textsOf = (...asked: readonly Asked<'PostMsgReq'>[]) =>
  asked.flatMap(({ message }) => message.messages.map(({ body }) => new TextDecoder().decode(decodeBody(body).content)))
/** The ids of the messages of a request. */
export const idsOf = ({ message }: Asked<'PostMsgReq'>) => message.messages.map(({ messageId }) => hex(messageId))

/** A client with the outbox, and its program. */
export function start(server: ScriptedServer, outbox: MemoryOutbox) {
  const program = outbox.program()
  const client = server.client({ state: program.state })
  return { program, client }
}

/** Registers a client that has sent nothing yet. */
export function beforeSending(client: Client, server: ScriptedServer): Promise<ScriptedLink> {
  assert.equal(client.presence.size, 0)
  return server.registered()
}

/** Waits for work in memory that takes several turns. */
export async function turns(count = 10): Promise<void> {
  for (let n = 0; n < count; n++) await turn()
}
