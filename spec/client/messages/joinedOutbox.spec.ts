import assert from 'node:assert/strict'
import { JoinedOutbox } from '../../../lib/client/messages/joinedOutbox.ts'
import { OutboxEntry } from '../../../lib/client/messages/outboxEntry.ts'
import { outboxRequestBounds } from '../../../lib/client/messages/outboxRequests.ts'
import { outgoingOf } from '../../../lib/client/messages/outgoing.ts'
import { OspError } from '../../../lib/errors.ts'
import type { Control } from '../../../lib/ports/control.ts'
import { spec } from '../../support/spec.ts'

/** A program that accepts the messages of the first request, and fails at the next one. */
function failingControl(): Control {
  let added = 0
  return {
    serve: () => Promise.reject(new OspError('data-locked')),
    async ask(request, reply) {
      const { do: action, messages = [] } = request as { do: string; messages?: readonly unknown[] }
      if (action === 'await') {
        reply?.({ waiter: 1 })
        return await new Promise<never>(() => {})
      }
      if (added > 0) throw new OspError('internal', 'the disk is full')
      return { added: messages.map(() => ({ number: ++added })) }
    },
  }
}

spec('the messages that a program adds to the outbox of another one', (it) => {
  it('are added up to the request that fails', async () => {
    const joined = await JoinedOutbox.join(
      failingControl(),
      () => {},
      () => {},
    )
    const entries = Array.from({ length: outboxRequestBounds.items + 1 }, (_, at) => {
      const messageId = new Uint8Array(16).fill(at)
      return new OutboxEntry(outgoingOf({ messageId, recipients: ['bob'], body: new Uint8Array() }), 0)
    })
    const added = await Promise.allSettled(entries.map((entry) => joined.add(entry)))
    assert.deepEqual(added.map(({ status }) => status).lastIndexOf('fulfilled'), outboxRequestBounds.items - 1)
    assert.equal(added.at(-1)?.status, 'rejected')
    joined.leave()
  })
})
